import { setTimeout as delay } from "node:timers/promises";
import { silentLogger, systemClock } from "@shoal/runtime";
import { createMemoryStore } from "@shoal/store";
import { expect, it } from "vitest";
import { createUnfinishedPulls } from "../src/unfinished-pulls.ts";

const pull = { id: "p", reference: "docker.io/library/alpine:3", platform: "linux/amd64" };

it("gives back what was under way, and not what has ended", async () => {
  const store = createMemoryStore();
  const first = createUnfinishedPulls(store, systemClock, silentLogger);
  first.begun(pull);
  first.begun({ ...pull, id: "q" });
  first.ended("q");
  await delay(1);
  const second = createUnfinishedPulls(store, systemClock, silentLogger);
  expect(await second.left()).toMatchObject([pull]);
});

it("does not begin for ever what the daemon does not survive", async () => {
  const store = createMemoryStore();
  createUnfinishedPulls(store, systemClock, silentLogger).begun(pull);
  let restarts = 0;
  for (; restarts < 10; restarts++) {
    await delay(1);
    const unfinished = createUnfinishedPulls(store, systemClock, silentLogger);
    const left = await unfinished.left();
    if (left.length === 0) break;
    for (const one of left) unfinished.begun(one);
  }
  expect(restarts).toBe(2);
});

it("forgets what is older than a day, or from a clock that was wrong", async () => {
  const store = createMemoryStore();
  let nowMs = Date.now();
  const clock = { ...systemClock, wallNow: () => nowMs };
  createUnfinishedPulls(store, clock, silentLogger).begun(pull);
  await delay(1);
  nowMs += 25 * 3600 * 1000;
  expect(await createUnfinishedPulls(store, clock, silentLogger).left()).toEqual([]);
});
