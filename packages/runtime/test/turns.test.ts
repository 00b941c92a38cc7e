import { describe, expect, it } from "vitest";
import { createTurns } from "../src/index.ts";

describe("turns", () => {
  it("do one thing after another, and go on after a failure", async () => {
    const inTurn = createTurns();
    const { promise, resolve } = Promise.withResolvers<void>();
    const done: string[] = [];
    const first = inTurn(async () => {
      await promise;
      done.push("first");
      throw new Error("failed");
    });
    const second = inTurn(async () => done.push("second"));
    expect(done).toEqual([]);
    resolve();
    await expect(first).rejects.toThrow("failed");
    expect(await second).toBe(2);
    expect(done).toEqual(["first", "second"]);
  });
});
