import type { Ingest, PieceIndex } from "@shoal/store";
import { type Notary, vouchedHash } from "./attestation.ts";
import type { LedgerEntry, LedgerLog } from "./ledger-log.ts";
import type { PeerIdString } from "./transport.ts";
import type { Attestation } from "./wire/messages.ts";

/** Who vouches for each piece of a blob that is arriving. */
export interface Ledger {
  /** The sha256 that an attestation promises of the piece, if it is its signer's. */
  check(piece: PieceIndex, attestation: Attestation | undefined): Promise<Uint8Array | undefined>;
  /** A piece is about to be written; without an attestation this machine has read it from the upstream. */
  expect(piece: PieceIndex, attestation: Attestation | undefined): void;
  /** The piece is written. */
  stored(piece: PieceIndex): void;
  /** What goes along with the piece to others. This machine signs for what it read from the upstream. */
  of(piece: PieceIndex): Promise<Attestation | undefined>;
  /** Who vouches for a piece that is here; `undefined` for one that nobody does. */
  signer(piece: PieceIndex): PeerIdString | undefined;
  forget(pieces: Iterable<PieceIndex>): void;
}

interface Vouched {
  readonly site: string;
  /** Absent for this machine's own pieces until they are asked for: a machine that is alone never signs. */
  attestation: Promise<Attestation> | Attestation | undefined;
  readonly signer: PeerIdString;
}

export function createLedger(components: {
  readonly ingest: Pick<Ingest, "digest" | "sizeBytes" | "pieceHash">;
  readonly notary: Notary;
  readonly log: LedgerLog | undefined;
}): Ledger {
  const { ingest, notary, log } = components;
  const vouched = new Map<PieceIndex, Vouched>();
  for (const { piece, site, attestation } of log?.resumed ?? []) note(piece, site, attestation);

  function note(piece: PieceIndex, site: string, attestation: LedgerEntry["attestation"]): void {
    vouched.set(piece, { site, attestation, signer: attestation?.signer ?? notary.self });
  }

  return {
    check: async (piece, attestation) => await vouchedHash(notary, ingest, piece, attestation),
    expect: (piece, attestation) => note(piece, notary.site, attestation),
    stored(piece) {
      const entry = vouched.get(piece);
      const hash = ingest.pieceHash(piece);
      if (log === undefined || entry === undefined || hash === undefined) return;
      const own = entry.signer === notary.self;
      const attestation = own ? undefined : (entry.attestation as Attestation);
      log.note({ piece, hash, site: entry.site, attestation });
    },
    async of(piece) {
      const entry = vouched.get(piece);
      const hash = ingest.pieceHash(piece);
      if (entry === undefined || hash === undefined) return undefined;
      if (entry.site === notary.site && entry.attestation !== undefined)
        return await entry.attestation;
      // Another site's members can't check what was signed for this one.
      if (entry.signer !== notary.self) return undefined;
      const attestation = notary.sign(ingest, piece, hash, "upstream");
      vouched.set(piece, { site: notary.site, attestation, signer: notary.self });
      return await attestation;
    },
    signer: (piece) => vouched.get(piece)?.signer,
    forget(pieces) {
      for (const piece of pieces) vouched.delete(piece);
    },
  };
}
