import { expect, it } from "vitest";
import { reuseFor } from "../src/index.ts";

it("asks again only when the last answer is old", () => {
  let nowMs = 0;
  let asked = 0;
  const find = reuseFor({ now: () => nowMs }, 1000, () => ++asked);
  expect([find(), find()]).toEqual([1, 1]);
  nowMs = 999;
  expect(find()).toBe(1);
  nowMs = 1000;
  expect(find()).toBe(2);
});
