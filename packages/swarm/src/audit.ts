import type { PieceIndex } from "@shoal/store";
import type { PeerIdString } from "./transport.ts";
import type { Attestation } from "./wire/messages.ts";

/** Audits of one member under way at a time. */
const AUDITS_EACH = 4;
/** More members than this never audit one piece. */
const AUDITORS = 3;
/** An audit that takes longer is given to another member, too. Milliseconds. */
const AUDIT_MS = 5000;
/** A report that is older no longer counts. Milliseconds. */
const REPORT_MS = 10_000;
/** Findings that one answer carries. */
export const MOST_FINDINGS = 256;

/** What a participant tells of a blob that its pieces do not make up, or that may come to that. */
export interface DisputeReport {
  /** Its pieces make up another blob. */
  readonly disputing: boolean;
  readonly mayAudit: boolean;
  /** Which pieces it has from whom. */
  readonly signers: ReadonlyMap<PeerIdString, ReadonlySet<PieceIndex>>;
  /** Pieces about which it knows two hashes, and not which is right. */
  readonly contested: readonly PieceIndex[];
  /** Its own findings: what it has read from the upstream. */
  readonly findings: readonly Attestation[];
  /** How many of the office's findings it has heard. */
  readonly heard: number;
}

export interface AuditOrders {
  /** Pieces to read from the upstream. */
  readonly audits: readonly PieceIndex[];
  readonly findings: readonly Attestation[];
  readonly heard: number;
}

/**
 * Hands out audits of one blob: one sampled piece of each signer, then all pieces of one signer after another,
 * the most doubtful first; never to the signer itself. A contested piece is read by up to three.
 */
export interface AuditOffice {
  readonly findings: number;
  sync(from: PeerIdString, report: DisputeReport, nowMs: number): AuditOrders;
}

export function createAuditOffice(init: {
  readonly random: () => number;
  /** The higher, the sooner a signer's pieces are audited. */
  readonly doubt: (peer: PeerIdString) => number;
}): AuditOffice {
  const reports = new Map<PeerIdString, { report: DisputeReport; seenMs: number }>();
  const findings: Attestation[] = [];
  const audited = new Map<PieceIndex, Map<PeerIdString, number | "done">>();

  function auditsOf(piece: PieceIndex): Map<PeerIdString, number | "done"> {
    const known = audited.get(piece) ?? new Map<PeerIdString, number | "done">();
    audited.set(piece, known);
    return known;
  }

  function isDone(piece: PieceIndex): boolean {
    return [...auditsOf(piece).values()].includes("done");
  }

  function settle(from: PeerIdString, report: DisputeReport, nowMs: number): void {
    for (const [peer, { seenMs }] of reports) if (nowMs - seenMs > REPORT_MS) reports.delete(peer);
    reports.delete(from);
    if (report.disputing || report.contested.length > 0)
      reports.set(from, { report, seenMs: nowMs });
    for (const finding of report.findings) {
      const audits = auditsOf(finding.first as PieceIndex);
      if (audits.get(from) === "done") continue;
      audits.set(from, "done");
      findings.push(finding);
    }
    for (const audits of audited.values())
      for (const [peer, since] of audits)
        if (since !== "done" && nowMs - since > AUDIT_MS) audits.delete(peer);
  }

  function claims(): Map<PeerIdString, Set<PieceIndex>> {
    const all = new Map<PeerIdString, Set<PieceIndex>>();
    for (const { report } of reports.values())
      if (report.disputing)
        for (const [signer, pieces] of report.signers)
          all.set(signer, (all.get(signer) ?? new Set()).union(pieces));
    return all;
  }

  function* wanted(from: PeerIdString, report: DisputeReport): Generator<PieceIndex> {
    const contested = new Set([...reports.values()].flatMap((one) => one.report.contested));
    for (const piece of contested) if (auditsOf(piece).size < AUDITORS) yield piece;
    if (contested.size > 0) return;
    const signers = [...claims()]
      .filter(([signer]) => signer !== from)
      .sort(([a], [b]) => init.doubt(b) - init.doubt(a));
    let sampled = true;
    for (const [, pieces] of signers) {
      const open = [...pieces].filter((piece) => auditsOf(piece).size === 0);
      sampled &&= [...pieces].some(isDone);
      if (open.length === pieces.size) yield open[Math.floor(init.random() * open.length)]!;
    }
    // Who has not heard of every finding may be about to contest one.
    if (!sampled || report.heard < findings.length) return;
    for (const [, pieces] of signers) {
      yield* [...pieces].filter((piece) => auditsOf(piece).size === 0);
      if ([...pieces].some((piece) => !isDone(piece))) return;
    }
  }

  return {
    get findings() {
      return findings.length;
    },
    sync(from, report, nowMs) {
      settle(from, report, nowMs);
      const underWay = [...audited].filter(([, audits]) => typeof audits.get(from) === "number");
      const audits = underWay.map(([piece]) => piece);
      if (report.mayAudit)
        for (const piece of wanted(from, report)) {
          if (audits.length >= AUDITS_EACH) break;
          if (auditsOf(piece).has(from)) continue;
          if (claimsOwn(from, piece)) continue;
          auditsOf(piece).set(from, nowMs);
          audits.push(piece);
        }
      const heard = Math.min(report.heard, findings.length);
      const told = findings.slice(heard, heard + MOST_FINDINGS);
      return { audits, findings: told, heard: heard + told.length };
    },
  };

  function claimsOwn(from: PeerIdString, piece: PieceIndex): boolean {
    for (const { report } of reports.values())
      if (report.signers.get(from)?.has(piece) === true) return true;
    return false;
  }
}

/** A piece that is here: its sha256, as hex, and who vouches for it. */
export interface HeldPiece {
  readonly hash: string;
  readonly signer: PeerIdString;
}

export interface Finding {
  readonly piece: PieceIndex;
  readonly auditor: PeerIdString;
  /** As hex. */
  readonly hash: string;
}

/**
 * Whose word about pieces is wrong. What this member has read itself decides, unless two other auditors agree on
 * something else; without that, more against fewer. Contested pieces want another audit.
 */
export function judge(
  self: PeerIdString,
  held: (piece: PieceIndex) => HeldPiece | undefined,
  findings: Iterable<Finding>,
): { readonly wrong: ReadonlySet<PeerIdString>; readonly contested: readonly PieceIndex[] } {
  const votes = new Map<PieceIndex, Map<PeerIdString, string>>();
  for (const { piece, auditor, hash } of findings) {
    const cast = votes.get(piece) ?? new Map<PeerIdString, string>();
    cast.set(auditor, hash);
    votes.set(piece, cast);
  }
  const wrong = new Set<PeerIdString>();
  const contested: PieceIndex[] = [];
  for (const [piece, audits] of votes) {
    const cast = new Map(audits);
    const here = held(piece);
    if (here !== undefined && !cast.has(here.signer)) cast.set(here.signer, here.hash);
    const tally = Map.groupBy(cast, ([, hash]) => hash);
    if (tally.size < 2) continue;
    const ranked = [...tally].sort(([, a], [, b]) => b.length - a.length);
    const ahead = ranked[0]![1].length > ranked[1]![1].length ? ranked[0]![0] : undefined;
    const mine = audits.get(self);
    const others = ranked.find(([hash, peers]) => {
      const auditors = peers.filter(([peer]) => audits.has(peer) && peer !== here?.signer);
      return hash !== mine && auditors.length >= 2;
    });
    const truth = mine === undefined ? ahead : (others?.[0] ?? mine);
    if (truth === undefined) contested.push(piece);
    else for (const [peer, hash] of cast) if (hash !== truth) wrong.add(peer);
  }
  return { wrong, contested };
}
