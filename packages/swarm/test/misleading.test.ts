import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { createMemoryStore, type Store } from "@shoal/store";
import {
  decodeBlock,
  decodeRequest,
  encodeBlockReply,
  encodeReply,
  encodeRequest,
  type PeerTransport,
} from "../src/index.ts";
import { createMemorySite } from "../src/testing.ts";
import { addBlob, createMember, createOrigin, read, same } from "./support.ts";

/** A member that says it has the blob, as its coordinator too, and answers with noise at once. */
function lie(transport: PeerTransport): void {
  transport.handle(async (_peer, lane, frame) => {
    if (lane === "bulk") {
      const noise = new Uint8Array(randomBytes(decodeBlock(frame).length));
      return encodeBlockReply({ status: "ok", alternatives: [] }, noise);
    }
    if (decodeRequest(frame).type !== "sync") return [encodeReply({ type: "done" })];
    const nothing = { neighbours: [], leases: [], participants: 1, hope: true, retryMs: 500 };
    return [encodeReply({ type: "synced", epoch: 1, holders: [transport.self], ...nothing })];
  });
}

/** A store whose disk takes its time to give pieces up. */
function slowToDrop(store: Store): Store {
  return {
    ...store,
    async openIngest(target, options) {
      const ingest = await store.openIngest(target, options);
      const drop = ingest.drop.bind(ingest);
      return Object.assign(ingest, {
        async drop(dropped: Parameters<typeof drop>[0]) {
          await drop(dropped);
          await delay(50);
        },
      });
    },
  };
}

describe("a member that misleads", () => {
  it.each([2048, 3 * 1024 * 1024])(
    "cannot fill the gaps again while its %i bytes are given up",
    async (sizeBytes) => {
      const site = createMemorySite();
      const origin = createOrigin();
      const { digest, bytes } = addBlob(origin, sizeBytes);
      const liar = site.join("liar");
      lie(liar);
      const transport = site.join("honest");
      const store = slowToDrop(createMemoryStore());
      await using honest = await createMember(origin, transport, {}, store);
      const held: [typeof digest, number][] = [[digest, sizeBytes]];
      const news = { type: "announce" as const, held, gone: [], complete: true };
      await liar.request(transport.self, "control", encodeRequest(news));
      expect(same(await read(honest, digest, sizeBytes), bytes)).toBe(true);
      const [suspect] = honest.swarm.suspects();
      expect(suspect?.peer).toBe(liar.self);
      expect(suspect?.strikes).toBeGreaterThan(0);
    },
  );
});
