import { describe, expect, it } from "vitest";
import { freeMemory } from "../src/index.ts";

const KIB = 1024;

describe("freeMemory", () => {
  it("empties bytes that have their memory for themselves, but for a head", () => {
    const frame = new Uint8Array(Buffer.allocUnsafeSlow(256 * KIB + 100).buffer);
    const bytes = frame.subarray(100);
    freeMemory(bytes);
    expect([bytes.length, frame.length]).toEqual([0, 0]);
  });

  it("leaves alone what is small, a part of something larger, or shared with other threads", () => {
    const whole = new Uint8Array(512 * KIB);
    const part = whole.subarray(0, 256 * KIB);
    const small = new Uint8Array(KIB);
    const shared = new Uint8Array(new SharedArrayBuffer(256 * KIB));
    for (const bytes of [part, small, shared]) freeMemory(bytes);
    expect(whole.length).toBe(512 * KIB);
    expect(small.length).toBe(KIB);
    expect(shared.length).toBe(256 * KIB);
  });
});
