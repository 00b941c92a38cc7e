import { describe, expect, test } from "vitest";
import { parseRetryAfter } from "../src/back-off.ts";

describe("parseRetryAfter", () => {
  const nowMs = Date.parse("2026-01-01T00:00:00Z");
  test.each([
    ["120", 120_000],
    ["0", 0],
    ["Thu, 01 Jan 2026 00:01:00 GMT", 60_000],
    ["Wed, 31 Dec 2025 00:00:00 GMT", 0],
    ["-5", undefined],
    ["soon", undefined],
    [undefined, undefined],
  ])("of %s is %s", (text, expected) => {
    expect(parseRetryAfter(text, nowMs)).toBe(expected);
  });
});
