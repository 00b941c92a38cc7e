import { createHash } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { PieceIndex } from "../src/index.ts";
import {
  JOURNAL_HEADER_BYTES,
  JOURNAL_RECORD_BYTES,
  journalHeader,
  journalRecord,
  readJournal,
} from "../src/journal.ts";

const SIZE = 10_000_000;
const hashOf = (piece: number): Buffer => createHash("sha256").update(String(piece)).digest();
const journalOf = (pieces: readonly number[]): Buffer =>
  Buffer.concat([
    journalHeader(SIZE),
    ...pieces.map((piece) => journalRecord(piece as PieceIndex, hashOf(piece))),
  ]);

describe("journal", () => {
  it("reads what was written, and forgets what was taken back", () => {
    const dropped = Buffer.concat([journalOf([3, 1]), journalRecord(3 as PieceIndex, undefined)]);
    expect([...readJournal(dropped, SIZE, 40)!]).toEqual([[1, new Uint8Array(hashOf(1))]]);
  });

  it("is none of a blob of another size, and none when its header is cut", () => {
    expect(readJournal(journalOf([1]), SIZE + 1, 40)).toBeUndefined();
    for (let cut = 0; cut < JOURNAL_HEADER_BYTES; cut++)
      expect(readJournal(journalOf([1]).subarray(0, cut), SIZE, 40)).toBeUndefined();
  });

  it("loses a torn end and nothing before it, wherever it is torn", () => {
    const whole = journalOf([0, 1, 2]);
    for (let cut = JOURNAL_HEADER_BYTES; cut <= whole.length; cut++) {
      const records = Math.floor((cut - JOURNAL_HEADER_BYTES) / JOURNAL_RECORD_BYTES);
      expect(readJournal(whole.subarray(0, cut), SIZE, 40)!.size).toBe(records);
    }
  });

  it("believes no record with a bit turned, and all others", () => {
    fc.assert(
      fc.property(fc.nat(JOURNAL_RECORD_BYTES * 8 - 1), fc.nat(2), (bit, record) => {
        const bytes = journalOf([0, 1, 2]);
        const at = JOURNAL_HEADER_BYTES + record * JOURNAL_RECORD_BYTES + (bit >> 3);
        bytes[at]! ^= 1 << (bit & 7);
        const read = readJournal(bytes, SIZE, 40)!;
        expect(read.size).toBe(2);
        for (const [piece, hash] of read) expect(hashOf(piece).equals(hash)).toBe(true);
      }),
    );
  });

  it("reads any bytes without throwing", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        readJournal(Buffer.concat([journalHeader(SIZE), bytes]), SIZE, 40);
      }),
    );
  });
});
