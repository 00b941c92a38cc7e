import { createHash } from "node:crypto";
import { digestOf } from "@shoal/oci";
import { silentLogger } from "@shoal/runtime";
import { createManualClock } from "@shoal/runtime/testing";
import type { PieceIndex } from "@shoal/store";
import { createMemoryStore } from "@shoal/store";
import { describe, expect, it } from "vitest";
import { openLedgerLog } from "../src/ledger-log.ts";

const digest = digestOf(new Uint8Array(1));
const hash = new Uint8Array(createHash("sha256").update("piece").digest());
const ingest = { digest, pieceHash: () => hash };
const entry = (piece: number) => ({ piece: piece as PieceIndex, hash, site: "site" });

describe("what vouches for the pieces of an ingest", () => {
  it("is kept within 50 ms, so that a kill costs no more than what came meanwhile", async () => {
    const clock = createManualClock();
    const components = { store: createMemoryStore(), clock, logger: silentLogger };
    const log = await openLedgerLog(components, ingest);
    log.note(entry(0));
    clock.advance(30);
    log.note(entry(1));
    clock.advance(20);
    log.note(entry(2));
    await Promise.resolve();
    // As after a kill: nobody has closed it.
    const { resumed } = await openLedgerLog(components, ingest);
    expect(resumed.map(({ piece }) => piece)).toEqual([0, 1]);
  });

  it("is kept at the end of a transfer that is to go on, and forgotten with the blob", async () => {
    const clock = createManualClock();
    const components = { store: createMemoryStore(), clock, logger: silentLogger };
    const first = await openLedgerLog(components, ingest);
    first.note(entry(0));
    await first.close(false);
    const second = await openLedgerLog(components, ingest);
    expect(second.resumed).toHaveLength(1);
    second.note(entry(1));
    await second.close(true);
    clock.advance(1000);
    expect((await openLedgerLog(components, ingest)).resumed).toEqual([]);
  });
});
