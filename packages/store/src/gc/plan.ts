import type { Digest } from "@shoal/oci";

/** What nobody's manifest names, and ingests that nobody goes on with, are kept this long. Milliseconds. */
export const FORGET_MS = 24 * 3600 * 1000;

export interface GcItem {
  readonly sizeBytes: number;
  /** When it was last used. Wall-clock milliseconds. */
  readonly usedMs: number;
}

/** All that a collection is decided by. */
export interface GcState {
  readonly blobs: ReadonlyMap<Digest, GcItem>;
  /** Ingests that nobody has open. */
  readonly ingests: ReadonlyMap<Digest, GcItem>;
  /** What manifests name, those that are here and those that are wanted again, whether that is here or not. */
  readonly children: ReadonlyMap<Digest, readonly Digest[]>;
  /** Pinned manifests and blobs: they and all that they name stay. */
  readonly pinned: Iterable<Digest>;
  /** Blobs that are being read, and those whose ingest is open. */
  readonly busy: ReadonlySet<Digest>;
  /** Blobs that nobody else is known to keep: they go last. */
  readonly lastCopies: ReadonlySet<Digest>;
  readonly nowMs: number;
}

/** Why something goes: nothing names it, its pull was given up, or it was used longest ago. */
export type GcReason = "unnamed" | "unfinished" | "least-recently-used" | "last-copy";

/** What goes together: a manifest with all that nothing else names, a blob, or an ingest. */
export interface GcRemoval {
  readonly kind: "image" | "blob" | "ingest";
  /** The image's index or manifest, the blob, or the ingest's blob. */
  readonly digest: Digest;
  readonly reason: GcReason;
  readonly usedMs: number;
  readonly sizeBytes: number;
  /** In the order in which they go: what names before what is named. */
  readonly blobs: readonly Digest[];
}

export interface GcPlan {
  readonly removals: readonly GcRemoval[];
  readonly wonBytes: number;
}

interface Unit {
  readonly kind: GcRemoval["kind"];
  readonly digest: Digest;
  readonly usedMs: number;
  /** Present blobs, parents before children. */
  readonly members: readonly Digest[];
  /** A part of it is arriving. */
  readonly arriving: boolean;
}

/**
 * What has to go so that `winBytes` are won, the least recently used first and what only this machine holds
 * after all else. Images go as a whole: a manifest never without what it alone names, nor this without it.
 * What has been of no use for {@link FORGET_MS}, unnamed blobs and unfinished ingests, goes in any case.
 */
export function planCollection(state: GcState, winBytes: number): GcPlan {
  const { blobs, ingests, busy, lastCopies, nowMs } = state;
  const kept = closure(state.pinned, state.children);
  const images = imageUnits(state);
  const namedBy = new Map<Digest, number>();
  for (const { members } of images)
    for (const member of members) namedBy.set(member, (namedBy.get(member) ?? 0) + 1);
  const units: Unit[] = images.map((image) => ({
    ...image,
    usedMs: Math.max(
      // A layer that several images share tells of none of them that it is in use.
      ...image.members
        .filter((member) => state.children.has(member) || namedBy.get(member) === 1)
        .map((member) => blobs.get(member)!.usedMs),
      // Without any such, the shared ones have to do.
      Math.min(...image.members.map((member) => blobs.get(member)!.usedMs)),
    ),
  }));
  for (const [digest, { usedMs }] of blobs)
    if (!namedBy.has(digest))
      units.push({ kind: "blob", digest, usedMs, members: [digest], arriving: false });
  for (const [digest, { usedMs }] of ingests)
    if (!busy.has(digest))
      units.push({ kind: "ingest", digest, usedMs, members: [], arriving: false });
  units.sort((a, b) => a.usedMs - b.usedMs || (a.digest < b.digest ? -1 : 1));

  const removals: GcRemoval[] = [];
  const deferred: Unit[] = [];
  let wonBytes = 0;

  /** What goes with the unit, or `undefined` when something of it has to stay. */
  function victimsOf(unit: Unit): Digest[] | undefined {
    if (unit.arriving || (unit.kind !== "ingest" && kept.has(unit.digest))) return undefined;
    const victims = unit.members.filter(
      (member) => (namedBy.get(member) ?? 1) === 1 && !kept.has(member),
    );
    return victims.some((victim) => busy.has(victim)) ? undefined : victims;
  }

  function remove(unit: Unit, victims: readonly Digest[], reason: GcReason): void {
    const sizeBytes =
      unit.kind === "ingest"
        ? ingests.get(unit.digest)!.sizeBytes
        : victims.reduce((sum, victim) => sum + blobs.get(victim)!.sizeBytes, 0);
    for (const member of unit.members)
      if (unit.kind === "image") namedBy.set(member, namedBy.get(member)! - 1);
    const { kind, digest, usedMs } = unit;
    removals.push({ kind, digest, reason, usedMs, sizeBytes, blobs: victims });
    wonBytes += sizeBytes;
  }

  for (const unit of units) {
    const expired = unit.kind !== "image" && nowMs - unit.usedMs > FORGET_MS;
    if (!expired && wonBytes >= winBytes) continue;
    const victims = victimsOf(unit);
    if (victims === undefined) continue;
    if (unit.kind === "ingest") remove(unit, victims, "unfinished");
    else if (victims.some((victim) => lastCopies.has(victim)) && !expired) deferred.push(unit);
    else remove(unit, victims, unit.kind === "blob" ? "unnamed" : "least-recently-used");
  }
  for (const unit of deferred) {
    if (wonBytes >= winBytes) break;
    const victims = victimsOf(unit);
    if (victims !== undefined) remove(unit, victims, "last-copy");
  }
  return { removals, wonBytes };
}

/** Manifests that no other one names, each with all that it leads to. */
function imageUnits(state: GcState): Unit[] {
  const { blobs, children, busy } = state;
  const below = new Set<Digest>();
  for (const named of children.values()) for (const digest of named) below.add(digest);
  const units: Unit[] = [];
  for (const digest of children.keys()) {
    if (below.has(digest)) continue;
    const reached = closure([digest], state.children);
    const members = [...reached].filter((member) => blobs.has(member));
    if (members.length === 0) continue;
    units.push({
      kind: "image",
      digest,
      usedMs: 0,
      members,
      arriving: [...reached].some((member) => busy.has(member) && !blobs.has(member)),
    });
  }
  return units;
}

/** All that the digests lead to, themselves first. */
export function closure(from: Iterable<Digest>, children: GcState["children"]): Set<Digest> {
  const reached = new Set(from);
  for (const digest of reached) for (const named of children.get(digest) ?? []) reached.add(named);
  return reached;
}
