import { expect, test } from "vitest";
import { readPullLimit } from "../src/pull-limit.ts";

test.each([
  ["100;w=21600", "76;w=21600", { limit: 100, remaining: 76, windowSeconds: 21_600 }],
  ["100 ; w=21600", "0", { limit: 100, remaining: 0, windowSeconds: 21_600 }],
  ["200", "199", { limit: 200, remaining: 199 }],
  ["100", undefined, undefined],
  [undefined, "3", undefined],
  ["unlimited", "3", undefined],
  ["-1", "3", undefined],
])("readPullLimit reads %s and %s", (limit, remaining, expected) => {
  expect(readPullLimit({ "ratelimit-limit": limit, "ratelimit-remaining": remaining })).toEqual(
    expected,
  );
});
