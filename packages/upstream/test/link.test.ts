import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { nextPageQuery } from "../src/link.ts";

describe("nextPageQuery", () => {
  test.each([
    ['</v2/a/tags/list?n=2&last=b>; rel="next"', "n=2&last=b"],
    ["<https://evil.example/v2/a/tags/list?last=b>; rel=next", "last=b"],
    ['<?last=b>; rel="next"', "last=b"],
    ['</first>; rel="first", </v2/a?n=3>; title="x"; rel="next"', "n=3"],
    ["</v2/hub/a/tags/list?last=b>; rel=next", "last=b"],
    ['</second>; rel="next"', undefined],
    ['</second?>; rel="next"', undefined],
    ['</first>; rel="prev"', undefined],
    [undefined, undefined],
    ["junk", undefined],
  ])("of %s is %s", (header, expected) => {
    expect(nextPageQuery(header)).toBe(expected);
  });

  test("of anything is nothing or a query that fits into a header", () => {
    const target = fc.stringMatching(/^[^<>]{0,30}$/);
    const header = fc.oneof(
      fc.string(),
      target.map((text) => `<${text}>; rel="next"`),
    );
    fc.assert(
      fc.property(header, (text) => {
        expect(nextPageQuery(text) ?? "a=b").toMatch(/^[!-~]+$/);
      }),
    );
  });
});
