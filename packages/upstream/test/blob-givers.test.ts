import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createBlobGivers } from "../src/blob-givers.ts";

const SOURCES = [
  { key: "a", last: false },
  { key: "b", last: false },
  { key: "itself", last: true },
];

function setUp() {
  const clock = { nowMs: 0 };
  const givers = createBlobGivers({ now: () => clock.nowMs });
  const reject = (blob = "blob", sources = SOURCES) => {
    const { blamed, elsewhere } = givers.reject(blob, sources);
    return [[...blamed], elsewhere];
  };
  return { clock, givers, reject };
}

describe("the givers of a blob", () => {
  test("are not asked for it for an hour, when they gave wrong bytes", () => {
    const { clock, givers, reject } = setUp();
    givers.gave("blob", "a");
    expect(reject()).toEqual([["a"], true]);
    expect(givers.mayGive("blob", "a")).toBe(false);
    expect([givers.mayGive("blob", "b"), givers.mayGive("other", "a")]).toEqual([true, true]);
    clock.nowMs = 3_600_000;
    expect(givers.mayGive("blob", "a")).toBe(true);
  });

  test("are those since the last verdict", () => {
    const { givers, reject } = setUp();
    givers.gave("blob", "a");
    givers.confirm("blob");
    expect(reject()).toEqual([[], false]);
    givers.gave("blob", "b");
    expect(reject()).toEqual([["b"], true]);
    expect(reject()).toEqual([[], false]);
  });

  test("are blamed together where several gave, but for the registry itself, and never all", () => {
    const { givers, reject } = setUp();
    for (const { key } of SOURCES) givers.gave("blob", key);
    expect(reject()).toEqual([["a", "b"], true]);
    for (const { key } of SOURCES) givers.gave("two", key);
    expect(reject("two", SOURCES.slice(0, 2))).toEqual([["a"], true]);
  });

  test("are asked again when nobody else is left", () => {
    const { givers, reject } = setUp();
    for (const [source, elsewhere] of [
      ["a", true],
      ["b", true],
      ["itself", false],
    ] as const) {
      givers.gave("blob", source);
      expect(reject()).toEqual([[source], elsewhere]);
    }
    for (const { key } of SOURCES) expect(givers.mayGive("blob", key)).toBe(true);
  });

  test("come to an end, and leave somebody to ask until then", () => {
    const gave = fc.subarray(SOURCES.map(({ key }) => key));
    fc.assert(
      fc.property(fc.array(gave, { minLength: SOURCES.length, maxLength: 9 }), (rounds) => {
        const { givers, reject } = setUp();
        let more = true;
        let count = 0;
        for (const round of rounds) {
          if (!more) break;
          for (const source of round)
            if (givers.mayGive("blob", source)) givers.gave("blob", source);
          more = reject()[1] as boolean;
          if (more) count += 1;
          expect(SOURCES.some(({ key }) => givers.mayGive("blob", key))).toBe(true);
        }
        expect(count).toBeLessThan(SOURCES.length);
      }),
    );
  });
});
