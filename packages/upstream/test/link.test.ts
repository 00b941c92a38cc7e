import { describe, expect, test } from "vitest";
import { nextPage } from "../src/link.ts";

describe("nextPage", () => {
  test.each([
    ['</v2/a/tags/list?n=2&last=b>; rel="next"', "/v2/a/tags/list?n=2&last=b"],
    ["<https://evil.example/v2/a/tags/list?last=b>; rel=next", "/v2/a/tags/list?last=b"],
    ['<?last=b>; rel="next"', "/v2/a/tags/list?last=b"],
    ['</first>; rel="first", </second>; title="x"; rel="next"', "/second"],
    ['</first>; rel="prev"', undefined],
    [undefined, undefined],
    ["junk", undefined],
  ])("of %s is %s", (header, expected) => {
    expect(nextPage(header, "/v2/a/tags/list?n=2")).toBe(expected);
  });
});
