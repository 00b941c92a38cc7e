import { expect, test } from "vitest";
import { sleep } from "../src/index.ts";
import { createManualClock } from "../src/testing.ts";

test("timers run in the order of their due times, and a disposed one never", () => {
  const clock = createManualClock();
  const ran: string[] = [];
  clock.schedule(20, () => ran.push("late"));
  clock.schedule(10, () => ran.push("early"));
  clock.schedule(15, () => ran.push("never"))[Symbol.dispose]();
  clock.advance(30);
  expect(ran).toEqual(["early", "late"]);
  expect(clock.now()).toBe(30);
});

test("sleep ends with its signal's reason", async () => {
  const clock = createManualClock();
  const controller = new AbortController();
  const slept = sleep(clock, 1000, { signal: controller.signal });
  controller.abort(new Error("woken"));
  await expect(slept).rejects.toThrow("woken");
});
