import type { Digest } from "@shoal/oci";
import type { Clock, Logger } from "@shoal/runtime";
import type { Ingest, PieceIndex, RecordTable, Store } from "@shoal/store";
import type { PeerIdString } from "./transport.ts";
import type { Attestation } from "./wire/messages.ts";

/**
 * Entries are written so often. What a kill takes with it is fetched again: at 100 Mbit/s 0.6 MiB of all blobs
 * together. Milliseconds.
 */
const WRITE_MS = 50;

/** A piece's sha256, and what vouches for it; without an attestation this machine read it from the upstream. */
export interface LedgerEntry {
  readonly piece: PieceIndex;
  readonly hash: Uint8Array;
  /** Public name of the site that the attestation is for. */
  readonly site: string;
  readonly attestation?: Attestation | undefined;
}

/** Entries of one blob's ledger that outlive the process, so that pieces from before can still be given. */
export interface LedgerLog {
  /** Entries from before whose pieces are still here as they were. */
  readonly resumed: readonly LedgerEntry[];
  note(entry: LedgerEntry): void;
  /** Writes what is waiting, or with `done` forgets the blob. */
  close(done: boolean): Promise<void>;
}

interface Row {
  readonly entries: readonly (readonly [
    piece: number,
    hash: string,
    site: string,
    attestation?: StoredAttestation,
  ])[];
}

interface StoredAttestation {
  readonly signer: PeerIdString;
  readonly first: number;
  readonly hashes: string;
  readonly source: Attestation["source"];
  readonly signature: string;
}

export async function openLedgerLog(
  components: {
    readonly store: Pick<Store, "table">;
    readonly clock: Clock;
    readonly logger: Logger;
  },
  ingest: Pick<Ingest, "digest" | "pieceHash">,
): Promise<LedgerLog> {
  const { store, clock, logger } = components;
  const table: RecordTable<Row> = store.table("ledgers");
  const prefix = `${ingest.digest} `;
  const known = new Map<PieceIndex, LedgerEntry>();
  const keys: string[] = [];
  for await (const [key, row] of table.entries(prefix)) {
    keys.push(key);
    for (const [piece, hash, site, stored] of row.entries) {
      const entry: LedgerEntry = {
        piece: piece as PieceIndex,
        hash: bytesOf(hash),
        site,
        attestation: stored && restore(stored),
      };
      const now = ingest.pieceHash(entry.piece);
      if (now !== undefined && Buffer.compare(now, entry.hash) === 0) known.set(entry.piece, entry);
    }
  }
  const waiting: LedgerEntry[] = [];
  let writing: Promise<void> = Promise.resolve();
  let timer: Disposable | undefined;

  function write(): void {
    timer?.[Symbol.dispose]();
    timer = undefined;
    if (waiting.length === 0) return;
    const key = `${prefix}${String(keys.length).padStart(8, "0")}`;
    const row: Row = { entries: waiting.splice(0).map(encodeEntry) };
    keys.push(key);
    writing = writing
      .then(async () => await table.put(key, row))
      .catch((error: unknown) => {
        logger.debug({ error, digest: ingest.digest }, "a ledger could not be kept");
      });
  }

  return {
    resumed: [...known.values()],
    note(entry) {
      waiting.push(entry);
      timer ??= clock.schedule(WRITE_MS, write);
    },
    async close(done) {
      if (done) waiting.length = 0;
      write();
      await writing;
      if (done) await Promise.all(keys.map(async (key) => await table.delete(key)));
    },
  };
}

/** Forgets ledgers of blobs that have no ingest any more. */
export async function sweepLedgers(store: Pick<Store, "table" | "stat">): Promise<void> {
  const table: RecordTable<Row> = store.table("ledgers");
  for await (const [key] of table.entries())
    if (store.stat(key.slice(0, key.indexOf(" ")) as Digest) !== undefined) await table.delete(key);
}

function encodeEntry({ piece, hash, site, attestation }: LedgerEntry): Row["entries"][number] {
  const told = [piece, textOf(hash), site] as const;
  if (attestation === undefined) return told;
  const { hashes, signature, ...rest } = attestation;
  return [...told, { ...rest, hashes: textOf(hashes), signature: textOf(signature) }];
}

function restore({ hashes, signature, ...rest }: StoredAttestation): Attestation {
  return { ...rest, hashes: bytesOf(hashes), signature: bytesOf(signature) };
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}

function bytesOf(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "base64"));
}
