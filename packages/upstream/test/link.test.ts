import { describe, expect, test } from "vitest";
import { nextPage } from "../src/link.ts";

describe("nextPage", () => {
  test.each([
    ['</v2/a/tags/list?n=2&last=b>; rel="next"', "/v2/a/tags/list?n=2&last=b"],
    ["<https://evil.example/v2/a/tags/list?last=b>; rel=next", "/v2/a/tags/list?last=b"],
    ['<?last=b>; rel="next"', "/v2/a/tags/list?last=b"],
    ['</first>; rel="first", </v2/a?n=3>; title="x"; rel="next"', "/v2/a/tags/list?n=3"],
    ["</v2/hub/a/tags/list?last=b>; rel=next", "/v2/a/tags/list?last=b"],
    ['</second>; rel="next"', undefined],
    ['</first>; rel="prev"', undefined],
    [undefined, undefined],
    ["junk", undefined],
  ])("of %s is %s", (header, expected) => {
    expect(nextPage(header, "/v2/a/tags/list?n=2")).toBe(expected);
  });
});
