import {
  bitfieldFromBytes,
  type PieceGeometry,
  type PieceIndex,
  pieceLength,
  pieceGeometry,
  type ReadonlyBitfield,
} from "@shoal/store";
import type { Clock } from "@shoal/runtime";
import type { Source } from "./picker.ts";
import type { Answer, Registration, Standing } from "./registration.ts";
import type { SyncReply, WireLease } from "./wire/messages.ts";
import type { Zones } from "./zones.ts";

/**
 * A participant's line to both coordinators of a blob, where its site has several zones. The zone's hands out
 * *carries*: the right and duty to bring a range of pieces into the zone. Who has one registers with the site's
 * coordinator as well, and gets the pieces from other zones or, by leases within its carry, from the upstream.
 */
export interface ZonedRegistration extends Registration {
  /** What this machine may take from a member of another zone: of its pieces those of a carry. */
  reach(source: Source): Source;
  /** Whether all of a carry has come: it is time to sync. */
  carried(have: ReadonlyBitfield): boolean;
}

export interface ZonedRegistrationComponents {
  readonly zones: Zones;
  /** The line to the site's coordinator of the blob. */
  readonly site: Registration;
  /** The line to that of this machine's zone. */
  readonly zone: Registration;
  readonly clock: Clock;
}

/** How long the members of other zones have to find out what they can bring. Milliseconds. */
const PATIENCE_MS = 5000;

export function createZonedRegistration(
  components: ZonedRegistrationComponents,
): ZonedRegistration {
  const { zones, site, zone, clock } = components;
  let carries: WireLease[] = [];
  /** Once it has had a carry, a participant stays with the site's coordinator: others fetch from it there. */
  let crossing = false;
  /** Since when the site's coordinator knows of nobody else who could bring what is missing. */
  let hopelessSinceMs: number | undefined;

  /** A member of another zone is not known there before it has something to carry. */
  function hopeOutside(): boolean {
    return hopelessSinceMs === undefined || clock.now() - hopelessSinceMs < PATIENCE_MS;
  }

  async function syncZone(
    standing: Standing,
    have: ReadonlyBitfield,
    signal: AbortSignal | undefined,
  ): Promise<Answer | undefined> {
    const geometry = pieceGeometry(standing.size);
    const canBring = standing.canFetch || hopeOutside();
    // Who can't bring what it was to carry gives it back at once: another may.
    const running = canBring ? carries.filter((carry) => !isHere(carry, have)) : [];
    return await zone.sync(
      {
        ...standing,
        zone: zones.own,
        wants: canBring && running.length === 0 && !have.complete && !standing.leaving,
        leases: running.map((carry) => ({
          ...carry,
          done: bytesHere(geometry, carry, have, standing.leases),
        })),
      },
      signal,
    );
  }

  async function syncSite(
    standing: Standing,
    have: ReadonlyBitfield,
    signal: AbortSignal | undefined,
  ): Promise<Answer | undefined> {
    const missing = carries.some((carry) => !isHere(carry, have));
    return await site.sync(
      {
        ...standing,
        wants: standing.wants && missing,
        within: carries.map(({ first, end }) => [first, end]),
      },
      signal,
    );
  }

  return {
    async sync(standing, signal) {
      if (!zones.split) {
        carries = [];
        return await site.sync(standing, signal);
      }
      const { pieceCount } = pieceGeometry(standing.size);
      const have = bitfieldFromBytes(pieceCount, standing.have)!;
      const near = await syncZone(standing, have, signal);
      if (near !== undefined) carries = near.reply.leases;
      crossing ||= carries.length > 0 || standing.leases.length > 0;
      if (!crossing) return near;
      const far = await syncSite(standing, have, signal);
      if (far?.reply.hope === true) hopelessSinceMs = undefined;
      else if (far !== undefined) hopelessSinceMs ??= clock.now();
      if (far === undefined || near === undefined) return far ?? near;
      const reply = { ...merge(near.reply, far.reply), hope: near.reply.hope || hopeOutside() };
      return { reply, from: near.reply.content === undefined ? far.from : near.from };
    },
    doubt() {
      if (zones.split) zone.doubt();
      site.doubt();
    },
    reach(source) {
      const { has, words, count } = source.have;
      const open = new Uint32Array(words.length);
      for (const { first, end } of carries)
        for (let piece = first; piece < end; piece++)
          open[piece >> 5]! |= words[piece >> 5]! & (1 << (piece & 31));
      const carried = (piece: PieceIndex): boolean =>
        carries.some(({ first, end }) => piece >= first && piece < end);
      return {
        ...source,
        have: { words: open, count, has: (piece) => carried(piece) && has(piece) },
      };
    },
    carried: (have) => carries.length > 0 && carries.every((carry) => isHere(carry, have)),
  };
}

function isHere({ first, end }: WireLease, have: ReadonlyBitfield): boolean {
  for (let piece = first; piece < end; piece++) if (!have.has(piece as PieceIndex)) return false;
  return true;
}

/** What of a carry has come, unfinished pieces of leases included: any new byte is progress. */
function bytesHere(
  geometry: PieceGeometry,
  { first, end }: WireLease,
  have: ReadonlyBitfield,
  leases: Standing["leases"],
): number {
  let bytes = 0;
  for (let piece = first; piece < end; piece++)
    if (have.has(piece as PieceIndex)) bytes += pieceLength(geometry, piece as PieceIndex);
  for (const lease of leases)
    if (lease.first >= first && lease.end <= end) bytes += lease.done % geometry.pieceSizeBytes;
  return bytes;
}

function merge(near: SyncReply, far: SyncReply): SyncReply {
  return {
    ...far,
    holders: union(near.holders, far.holders),
    neighbours: union(near.neighbours, far.neighbours),
    participants: Math.max(near.participants, far.participants),
    retryMs: Math.min(near.retryMs, far.retryMs),
    ...(near.content === undefined ? {} : { content: near.content }),
  };
}

function union<T>(a: readonly T[], b: readonly T[]): T[] {
  return [...new Set([...a, ...b])];
}
