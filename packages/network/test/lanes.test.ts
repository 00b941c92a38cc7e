import type { Connection } from "@libp2p/interface";
import { describe, expect, it } from "vitest";
import type { BulkClient } from "../src/bulk-client.ts";
import { createPeerLanes } from "../src/lanes.ts";

const noBulk: BulkClient = {
  take: () => undefined,
  prepare() {},
  port: undefined,
  promising: false,
  prefers: () => true,
  close() {},
};

/** A stream whose other end answers each frame with the same. */
function createEcho(): EventTarget {
  const stream = Object.assign(new EventTarget(), {
    status: "open",
    writableNeedsDrain: false,
    abort() {},
    send(data: Uint8Array): boolean {
      queueMicrotask(() => stream.dispatchEvent(Object.assign(new Event("message"), { data })));
      return true;
    },
  });
  return stream;
}

describe("a member that opens no stream", () => {
  it("holds nobody up for longer than they wait, and the stream is for others when it comes", async () => {
    const opening = Promise.withResolvers<EventTarget>();
    let opened = 0;
    const connection = {
      async newStream() {
        opened += 1;
        return await opening.promise;
      },
    } as unknown as Connection;
    const lanes = createPeerLanes(connection, () => noBulk);
    const startMs = performance.now();
    const signal = AbortSignal.timeout(50);
    const frame = Buffer.from([7]);
    await expect(lanes.request("control", frame, { signal })).rejects.toMatchObject({
      name: "TimeoutError",
    });
    expect(performance.now() - startMs).toBeLessThan(2000);
    opening.resolve(createEcho());
    await opening.promise;
    for (let times = 0; times < 3; times++) {
      await new Promise(setImmediate);
      expect(await lanes.request("control", frame)).toEqual(new Uint8Array([7]));
    }
    expect(opened).toBe(1);
    lanes.close();
  });
});
