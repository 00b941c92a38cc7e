import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createFrameInbox, frameChunks } from "../src/frame-inbox.ts";

const MAX_BYTES = 4096;

function createWatched() {
  const faults: string[] = [];
  const inbox = createFrameInbox({
    maxBytes: MAX_BYTES,
    onFault(how) {
      faults.push(how);
      inbox.fail(new Error(how));
    },
  });
  return { inbox, faults };
}

/** Cuts bytes at the given lengths, over and over. */
function* cut(bytes: Uint8Array, lengths: readonly number[]): Generator<Uint8Array> {
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const length = lengths[turn % lengths.length]!;
    yield bytes.subarray(at, at + length);
    at += length;
  }
}

const frames = fc.array(fc.array(fc.uint8Array({ maxLength: 1500 }), { maxLength: 3 }), {
  minLength: 1,
  maxLength: 4,
});
const lengths = fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 5 });

describe("frames", () => {
  it("come out as they went in, however they are cut, copied or received in place", async () => {
    await fc.assert(
      fc.asyncProperty(frames, lengths, fc.boolean(), async (sent, sizes, inPlace) => {
        const { inbox, faults } = createWatched();
        for (const parts of sent) {
          for (const chunk of cut(Buffer.concat(frameChunks(parts)), sizes)) {
            if (!inPlace) inbox.take(chunk);
            else
              for (let at = 0; at < chunk.length; ) {
                const target = inbox.target();
                const count = Math.min(target.length, chunk.length - at);
                target.set(chunk.subarray(at, at + count));
                inbox.advance(count);
                at += count;
              }
          }
          expect(inbox.within).toBe(false);
          const frame = await inbox.read();
          expect(Buffer.compare(frame!, Buffer.concat(parts))).toBe(0);
        }
        inbox.end();
        expect(await inbox.read()).toBeUndefined();
        expect(faults).toEqual([]);
      }),
    );
  });

  it("over the limit, or before the last one was read, are the peer's fault", async () => {
    const large = createWatched();
    large.inbox.take(Buffer.from([0, 0, 0x10, 1, 9, 9]));
    expect(large.faults).toHaveLength(1);
    await expect(large.inbox.read()).rejects.toThrow(/over the limit/);
    const early = createWatched();
    early.inbox.take(Buffer.from([0, 0, 0, 1, 9, 0, 0, 0, 1]));
    expect(early.faults).toEqual(["sent a frame out of turn"]);
  });

  it("that are cut within are no end", async () => {
    const { inbox } = createWatched();
    inbox.take(Buffer.from([0, 0]));
    inbox.end();
    await expect(inbox.read()).rejects.toMatchObject({ code: "ERR_PEER_UNREACHABLE" });
  });
});
