import { expect, test } from "vitest";
import { createCoalescer } from "../src/index.ts";

test("everybody who asks while work is under way gets its one result", async () => {
  const coalescer = createCoalescer<number>();
  let runs = 0;
  const gate = Promise.withResolvers<number>();
  const work = async (): Promise<number> => {
    runs += 1;
    return await gate.promise;
  };
  const both = Promise.all([coalescer.run("k", work), coalescer.run("k", work)]);
  gate.resolve(7);
  expect(await both).toEqual([7, 7]);
  expect(runs).toBe(1);
  expect(coalescer.size).toBe(0);
});

test("a first caller's abort never fails a second, and the last to leave stops the work", async () => {
  const coalescer = createCoalescer<number>();
  const first = new AbortController();
  const second = new AbortController();
  let seen: AbortSignal | undefined;
  const work = async (signal: AbortSignal): Promise<number> => {
    seen = signal;
    return await new Promise(() => undefined);
  };
  const a = coalescer.run("k", work, { signal: first.signal });
  const b = coalescer.run("k", work, { signal: second.signal });
  first.abort(new Error("first left"));
  await expect(a).rejects.toThrow("first left");
  expect(seen?.aborted).toBe(false);
  second.abort(new Error("second left"));
  await expect(b).rejects.toThrow("second left");
  expect(seen?.aborted).toBe(true);
});

test("work that is done is not told that everybody has left", async () => {
  const coalescer = createCoalescer<AbortSignal>();
  const seen = await coalescer.run("k", async (signal) => signal);
  expect(seen.aborted).toBe(false);
});
