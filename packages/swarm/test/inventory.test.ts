import { type Digest, digestOf } from "@shoal/oci";
import { describe, expect, it } from "vitest";
import { testPeerId } from "../src/testing.ts";
import { createTestDirectory } from "./support.ts";

const peer = testPeerId("a");
const digests = Array.from({ length: 10_001 }, (_, i) => digestOf(Buffer.from(String(i))));

/** A directory, to which the peer announces what it holds and no longer holds. */
function inventory() {
  const site = createTestDirectory([peer]);
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
    const site = inventory();
    const [last] = digests.slice(-1) as [Digest];
    site.announce(digests);
    expect(site.sizeOf(digests[9_999]!)).toBe(5);
    expect(site.sizeOf(last)).toBeUndefined();
    site.announce([last], digests.slice(0, 1));
    expect(site.sizeOf(last)).toBe(5);
    expect(site.sizeOf(digests[0]!)).toBeUndefined();
  });

  it("has one size of a blob, whatever a member tells one after another", () => {
    const site = inventory();
    const [first] = digests as [Digest];
    for (let sizeBytes = 1; sizeBytes <= 1000; sizeBytes++) site.announce([first], [], sizeBytes);
    expect(site.sizeOf(first)).toBe(1000);
    site.announce([], [first]);
    expect(site.sizeOf(first)).toBeUndefined();
  });
});
