import { type Digest, digestOf } from "@shoal/oci";
import { silentLogger } from "@shoal/runtime";
import { createManualClock } from "@shoal/runtime/testing";
import { createMemoryStore } from "@shoal/store";
import { describe, expect, it } from "vitest";
import { createDirectory } from "../src/directory.ts";
import { testPeerId } from "../src/testing.ts";

const [self, peer] = [testPeerId("self"), testPeerId("a")];
const digests = Array.from({ length: 10_001 }, (_, i) => digestOf(Buffer.from(String(i))));

function directory() {
  const done = async (): Promise<never> => ({ type: "done" }) as never;
  const site = createDirectory({
    transport: { self, members: () => [peer] },
    peers: { ask: done, block: done, prepare() {} },
    store: createMemoryStore(),
    clock: createManualClock(),
    random: () => 0.5,
    audits: { sync: async () => undefined },
    conduct: { mayLease: () => true, trusts: () => true },
    logger: silentLogger,
    gives: () => true,
  });
  const announce = (held: readonly Digest[], gone: readonly Digest[] = [], sizeBytes = 5): void =>
    site.announce(peer, {
      type: "announce",
      held: held.map((digest) => [digest, sizeBytes]),
      gone: [...gone],
      complete: true,
    });
  return { ...site, announce };
}

describe("an inventory", () => {
  it("is taken of a member up to 10,000 blobs, and no more until some have gone", () => {
    const site = directory();
    const [last] = digests.slice(-1) as [Digest];
    site.announce(digests);
    expect(site.sizeOf(digests[9_999]!)).toBe(5);
    expect(site.sizeOf(last)).toBeUndefined();
    site.announce([last], digests.slice(0, 1));
    expect(site.sizeOf(last)).toBe(5);
    expect(site.sizeOf(digests[0]!)).toBeUndefined();
  });

  it("has one size of a blob, whatever a member tells one after another", () => {
    const site = directory();
    const [first] = digests as [Digest];
    for (let sizeBytes = 1; sizeBytes <= 1000; sizeBytes++) site.announce([first], [], sizeBytes);
    expect(site.sizeOf(first)).toBe(1000);
    site.announce([], [first]);
    expect(site.sizeOf(first)).toBeUndefined();
  });
});
