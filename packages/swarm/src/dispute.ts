import { createHash } from "node:crypto";
import type { Digest, Repository } from "@shoal/oci";
import type { Clock, Logger } from "@shoal/runtime";
import {
  bitfieldFromBytes,
  createBitfield,
  type Ingest,
  type PieceIndex,
  pieceLength,
  pieceOffset,
} from "@shoal/store";
import type { Upstream } from "@shoal/upstream";
import { type AuditOrders, type DisputeReport, judge, MOST_FINDINGS } from "./audit.ts";
import { type Notary, promisedHash } from "./attestation.ts";
import type { Ledger } from "./ledger.ts";
import type { PeerIdString } from "./transport.ts";
import type { Attestation, Sync, SyncReply } from "./wire/messages.ts";

/** Without news of a finding for this long the next coordinator is asked. Milliseconds. */
const QUIET_MS = 3000;
/** Coordinators that are tried. */
const COORDINATORS = 3;
const LONGEST_MS = 60_000;

/** One participant's part in finding out whose pieces are wrong. */
export interface Dispute {
  /** The pieces make up another blob: from now on they are disputed. */
  begin(): void;
  readonly disputing: boolean;
  /** What the coordinator is to know; `undefined` when there is nothing. */
  report(): Sync["dispute"];
  /**
   * Takes in the coordinator's orders and others' findings.
   * @returns members that are shown to be wrong about pieces that are here
   */
  hear(
    from: PeerIdString,
    told: SyncReply["audit"],
    onFound: (wrong: ReadonlySet<PeerIdString>) => void,
  ): Promise<void>;
  /** Ends the dispute. */
  end(): void;
  /** What this member has read itself is wrong: its own findings count no more. */
  distrustSelf(): void;
  /** Whether no coordinator helps. */
  readonly hopeless: boolean;
  /** Bytes of pieces that this member has read itself in audits, to take the place of wrong ones. */
  takeRead(piece: PieceIndex): Uint8Array | undefined;
  /** Notes what members have said of pieces, to be held against the verified blob. */
  remember(pieces: Iterable<PieceIndex>): Promise<void>;
  /** What turned out to be false, one for each signer. Call while the ingest still has its hashes. */
  falseClaims(): Map<PeerIdString, Attestation>;
}

export interface DisputeComponents {
  readonly ingest: Ingest;
  readonly ledger: Ledger;
  readonly notary: Notary;
  readonly upstream: Pick<Upstream, "blob">;
  readonly repository: Repository;
  readonly digest: Digest;
  readonly mayAudit: () => boolean;
  readonly onBytes: (lengthBytes: number) => void;
  /** There is something to tell the coordinator. */
  readonly onChange: () => void;
  readonly onQuiet: () => void;
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly logger: Logger;
}

export function createDispute(components: DisputeComponents): Dispute {
  const { ingest, ledger, notary, upstream, repository, digest, clock, logger } = components;
  const { geometry } = ingest;
  const claims: Attestation[] = [];
  const findings = new Map<string, Attestation>();
  const running = new Set<PieceIndex>();
  const read = new Map<PieceIndex, Uint8Array>();
  const reported = new Set<string>();
  let coordinator: PeerIdString | undefined;
  let heard = 0;
  let startedMs = 0;
  let newsMs = 0;
  let quietRounds = 0;
  let disputing = false;
  let distrusted = false;

  function verdict(): ReturnType<typeof judge> {
    const told = [...findings.values()].map((finding) => ({
      piece: finding.first as PieceIndex,
      auditor: finding.signer,
      hash: hex(finding.hashes),
    }));
    return judge(
      notary.self,
      (piece) => {
        const hash = ingest.pieceHash(piece);
        const signer = ledger.signer(piece);
        return hash && signer && { hash: hex(hash), signer };
      },
      told,
    );
  }

  function note(finding: Attestation): boolean {
    const key = `${finding.first} ${finding.signer}`;
    if (findings.has(key) || (distrusted && finding.signer === notary.self)) return false;
    findings.set(key, finding);
    newsMs = clock.now();
    return true;
  }

  async function audit(piece: PieceIndex): Promise<void> {
    running.add(piece);
    try {
      const bytes = await readPiece(piece);
      const hash = createHash("sha256").update(bytes).digest();
      const here = ingest.pieceHash(piece);
      if (here === undefined || Buffer.compare(hash, here) !== 0) read.set(piece, bytes);
      note(await notary.sign(ingest, piece, hash, "upstream"));
      components.onChange();
    } catch (error) {
      if (!components.signal.aborted)
        logger.info({ error, digest, piece }, "a disputed piece could not be read");
    } finally {
      running.delete(piece);
    }
  }

  async function readPiece(piece: PieceIndex): Promise<Uint8Array> {
    const start = pieceOffset(geometry, piece);
    const length = pieceLength(geometry, piece);
    const response = await upstream.blob(repository, digest, {
      signal: components.signal,
      sizeBytes: geometry.sizeBytes,
      start,
      end: start + length,
    });
    const bytes = new Uint8Array(length);
    let at = response.start - start;
    for await (const chunk of response.body) {
      components.onBytes(chunk.length);
      const from = Math.max(0, -at);
      const part = chunk.subarray(from, Math.max(from, length - at));
      bytes.set(part, Math.max(0, at));
      at += chunk.length;
      if (at >= length) break;
    }
    if (at < length) throw new RangeError("the registry ended a piece early");
    return bytes;
  }

  return {
    begin() {
      disputing = true;
      startedMs = clock.now();
      newsMs = startedMs;
      quietRounds = 0;
    },
    get disputing() {
      return disputing;
    },
    report() {
      const { contested } = verdict();
      if (!disputing && findings.size === 0) return undefined;
      const signers = new Map<PeerIdString, ReturnType<typeof createBitfield>>();
      for (const piece of ingest.have) {
        const signer = ledger.signer(piece);
        if (signer === undefined) continue;
        const pieces = signers.get(signer) ?? createBitfield(geometry.pieceCount);
        pieces.set(piece);
        signers.set(signer, pieces);
      }
      const own = [...findings].filter(
        ([key, { signer }]) => signer === notary.self && !reported.has(key),
      );
      return {
        disputing,
        mayAudit: components.mayAudit(),
        signers: [...signers].map(([signer, pieces]) => ({ signer, pieces: pieces.toBytes() })),
        contested: contested.slice(0, MOST_FINDINGS),
        findings: own.slice(0, MOST_FINDINGS).map(([, finding]) => finding),
        heard,
      };
    },
    async hear(from, told, onFound) {
      if (from !== coordinator) {
        coordinator = from;
        heard = 0;
        reported.clear();
      }
      if (told !== undefined) {
        heard = told.heard;
        for (const finding of told.findings) {
          if (finding.signer === notary.self) reported.add(`${finding.first} ${finding.signer}`);
          const one = finding.hashes.length === 32 && finding.source === "upstream";
          if (one && (await notary.verify(ingest, finding))) note(finding);
        }
        for (const piece of told.pieces as PieceIndex[])
          if (
            components.mayAudit() &&
            piece < geometry.pieceCount &&
            !running.has(piece) &&
            !findings.has(`${piece} ${notary.self}`)
          )
            void audit(piece);
      }
      const { wrong } = verdict();
      const held = new Set([...ingest.have].map((piece) => ledger.signer(piece)));
      const found = new Set([...wrong].filter((peer) => held.has(peer)));
      if (found.size > 0) onFound(found);
      else if (disputing && clock.now() - newsMs > QUIET_MS) {
        quietRounds += 1;
        newsMs = clock.now();
        components.onQuiet();
      }
    },
    end() {
      disputing = false;
    },
    distrustSelf() {
      distrusted = true;
      read.clear();
      for (const [key, { signer }] of findings) if (signer === notary.self) findings.delete(key);
    },
    get hopeless() {
      return disputing && (quietRounds >= COORDINATORS || clock.now() - startedMs > LONGEST_MS);
    },
    takeRead(piece) {
      const bytes = read.get(piece);
      read.delete(piece);
      return bytes;
    },
    async remember(pieces) {
      for (const piece of pieces) {
        if (ledger.signer(piece) === notary.self) continue;
        const attestation = await ledger.of(piece);
        if (attestation !== undefined) claims.push(attestation);
      }
    },
    falseClaims() {
      const found = new Map<PeerIdString, Attestation>();
      for (const claim of [...claims, ...findings.values()])
        if (claim.signer !== notary.self && isFalse(claim, ingest)) found.set(claim.signer, claim);
      return found;
    },
  };
}

/** Whether the attestation promises another hash than a piece has. */
function isFalse(claim: Attestation, ingest: Pick<Ingest, "pieceHash" | "geometry">): boolean {
  for (let piece = claim.first as PieceIndex; piece < ingest.geometry.pieceCount; piece++) {
    const promised = promisedHash(claim, piece);
    if (promised === undefined) return false;
    const hash = ingest.pieceHash(piece);
    if (hash !== undefined && Buffer.compare(hash, promised) !== 0) return true;
  }
  return false;
}

/** A report as the office reads it; `undefined` for bitfields that do not fit. */
export function parseReport(
  pieceCount: number,
  told: NonNullable<Sync["dispute"]>,
  findings: readonly Attestation[],
): DisputeReport | undefined {
  const signers = new Map<PeerIdString, ReadonlySet<PieceIndex>>();
  for (const { signer, pieces } of told.signers) {
    const bitfield = bitfieldFromBytes(pieceCount, pieces);
    if (bitfield === undefined) return undefined;
    signers.set(signer, new Set(bitfield));
  }
  const contested = told.contested.filter((piece) => piece < pieceCount) as PieceIndex[];
  return { ...told, signers, contested, findings };
}

/** Orders in wire form. */
export function formatOrders({ audits, findings, heard }: AuditOrders): SyncReply["audit"] {
  return { pieces: [...audits], findings: [...findings], heard };
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
