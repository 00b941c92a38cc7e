import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseContentRange } from "../src/content-range.ts";

describe("parseContentRange", () => {
  test("reads what it writes", () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(), fc.option(fc.nat()), (start, length, rest) => {
        const end = start + length + 1;
        const total = rest === null ? "*" : String(end + rest);
        expect(parseContentRange(`bytes ${start}-${end - 1}/${total}`)).toEqual({
          start,
          end,
          ...(rest === null ? {} : { sizeBytes: end + rest }),
        });
      }),
    );
  });

  test.each([
    undefined,
    "",
    "bytes */100",
    "bytes 5-4/100",
    "bytes 0-100/100",
    "items 0-1/2",
    "bytes 0-1",
  ])("refuses %s", (text) => {
    expect(parseContentRange(text)).toBeUndefined();
  });

  test("never throws", () => {
    fc.assert(fc.property(fc.string(), (text) => void parseContentRange(text)));
  });
});
