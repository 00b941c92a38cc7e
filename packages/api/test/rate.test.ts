import fc from "fast-check";
import { expect, test } from "vitest";
import { formatRate, parseBytes, parseRate } from "../src/index.ts";

test.each([
  ["20Mbit", 2_500_000],
  ["20 Mbit/s", 2_500_000],
  ["1Gbit", 125_000_000],
  ["500kbit", 62_500],
  ["100Mbps", undefined],
  ["2.5MB", 2_500_000],
  ["2.5 MB/s", 2_500_000],
  ["512KiB", 524_288],
  ["none", null],
  ["None", null],
  ["20", undefined],
  ["", undefined],
  ["-1MB", undefined],
  ["0Mbit", undefined],
  ["20Mbits", undefined],
])("%j is %j bytes per second", (text, bytesPerSecond) => {
  expect(parseRate(text)).toBe(bytesPerSecond);
});

test("a rate that is shown can be read again", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1000, max: 1e11 }), (bytesPerSecond) => {
      const again = parseRate(formatRate(bytesPerSecond))!;
      expect(Math.abs(again - bytesPerSecond) / bytesPerSecond).toBeLessThan(0.01);
    }),
  );
});

test("any text is read without an error", () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const rate = parseRate(text);
      expect(rate === null || rate === undefined || rate >= 1).toBe(true);
    }),
  );
});

test.each([
  ["0", 0],
  ["20GB", 20e9],
  ["1.5 GiB", 1.5 * 1024 ** 3],
  ["512k", undefined],
  ["-1", undefined],
  ["", undefined],
  ["999999999999999TB", undefined],
])("%j is %j bytes", (text, bytes) => {
  expect(parseBytes(text)).toBe(bytes);
});
