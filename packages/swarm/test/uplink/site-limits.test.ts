import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { testPeerId } from "../../src/testing.ts";
import { createSiteLimits, type LimitsChange } from "../../src/uplink/site-limits.ts";

const [a, b] = ["a", "b"].map(testPeerId) as [never, never];
const at = (wallMs: number): { wallNow: () => number } => ({ wallNow: () => wallMs });

describe("the limits of a site", () => {
  it("are the lowest that a live member was configured with", () => {
    const limits = createSiteLimits(a, { bytesPerSecond: 500 }, at(0));
    limits.hear(b, { type: "limits", configured: { bytesPerSecond: 300, connections: 4 } });
    expect(limits.current()).toEqual({ bytesPerSecond: 300, connections: 4 });
    limits.forget(b);
    expect(limits.current()).toEqual({ bytesPerSecond: 500 });
  });

  it("are told by whoever has something to tell", () => {
    const limits = createSiteLimits(a, {}, at(0));
    expect(limits.tell()).toBeUndefined();
    limits.change({ connections: 2 });
    expect(limits.tell()).toMatchObject({ set: { connections: 2, by: a } });
  });

  it("can be changed by a member whose clock is behind", () => {
    const ahead = createSiteLimits(a, {}, at(1_000_000));
    const behind = createSiteLimits(b, {}, at(10));
    ahead.change({ bytesPerSecond: 100 });
    expect(behind.hear(a, ahead.tell()!)).toBe(true);
    behind.change({ bytesPerSecond: null });
    expect(ahead.hear(b, behind.tell()!)).toBe(true);
    expect(ahead.current()).toEqual({});
  });

  it("end up the same everywhere, in whatever order the members hear of changes", () => {
    const value = fc.option(fc.nat(1000));
    const change = fc.record<LimitsChange>(
      { bytesPerSecond: value, connections: value },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(2), change, fc.boolean()), { maxLength: 20 }),
        fc.array(fc.nat(1000), { minLength: 3, maxLength: 3 }),
        (changes, clocks) => {
          const names = ["a", "b", "c"].map(testPeerId);
          const members = names.map((name, i) => createSiteLimits(name, {}, at(clocks[i]!)));
          const meet = (): void => {
            for (const [i, from] of names.entries())
              for (const [j, member] of members.entries()) {
                const told = members[i]!.tell();
                if (i !== j && told !== undefined) member.hear(from, told);
              }
          };
          for (const [who, what, spread] of changes) {
            members[who]!.change(what);
            if (spread) meet();
          }
          meet();
          for (const member of members) expect(member.current()).toEqual(members[0]!.current());
        },
      ),
    );
  });
});
