import { expect, test } from "vitest";
import { createBodySlots } from "../src/mirror/body-slots.ts";

test("300 bodies are sent at a time, and to 32 of them at most it is read ahead", () => {
  const slots = createBodySlots();
  const taken = Array.from({ length: 32 }, () => slots.take());
  expect(taken[0]!.mayReadAhead()).toBe(true);
  taken.push(slots.take());
  expect(taken[0]!.mayReadAhead()).toBe(false);
  while (taken.length < 300) taken.push(slots.take());
  expect(() => slots.take()).toThrow(expect.objectContaining({ code: "ERR_MIRROR_BUSY" }));
  // A second time has no effect.
  for (let time = 0; time < 2; time++) taken[0]![Symbol.dispose]();
  slots.take();
  expect(() => slots.take()).toThrow(expect.objectContaining({ code: "ERR_MIRROR_BUSY" }));
});
