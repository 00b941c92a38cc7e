import { decode, encode } from "cborg";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ADMISSION_FRAME_BYTES, createCard } from "../src/admission.ts";

const PEER = "12D3KooWETbNS4r7gyRcKZCY4b21ZLxCvTipLDVAxonGY49oZVdk";

describe("card", () => {
  it("goes into one frame however much the roster holds, and begins with its beginning", () => {
    const address = fc.string({ maxLength: 256, unit: "binary-ascii" });
    const addresses = fc.array(address, { maxLength: 16 });
    const members = fc.array(fc.record({ peer: fc.constant(PEER), addresses }), { maxLength: 400 });
    fc.assert(
      fc.property(addresses, members, (own, roster) => {
        const card = createCard(own, roster);
        expect(encode({ proof: new Uint8Array(32), card }).length).toBeLessThan(
          ADMISSION_FRAME_BYTES,
        );
        expect(card.roster).toEqual(roster.slice(0, card.roster.length));
      }),
      { numRuns: 20 },
    );
  });

  it("takes 300 members with all their addresses as far as they go", () => {
    const addresses = Array.from(
      { length: 8 },
      (_, i) => `/ip6/2001:db8:1234:5678:9abc::${i}/tcp/5056`,
    );
    const roster = Array.from({ length: 300 }, () => ({ peer: PEER, addresses }));
    const bytes = encode({ card: createCard(addresses, roster) });
    expect(bytes.length).toBeLessThan(ADMISSION_FRAME_BYTES);
    const { card } = decode(bytes) as { card: ReturnType<typeof createCard> };
    expect(card.roster.length).toBeGreaterThan(100);
    expect(
      createCard(
        [],
        roster.map(({ peer }) => ({ peer, addresses: [] })),
      ).roster,
    ).toHaveLength(300);
  });
});
