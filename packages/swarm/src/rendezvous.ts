import { createHash } from "node:crypto";
import type { PeerIdString } from "./transport.ts";

interface Seed {
  readonly high: number;
  readonly low: number;
}

const SEED_CACHE_LIMIT = 4096;
const peerSeeds = new Map<PeerIdString, Seed>();

function seedOf(text: string): Seed {
  const hash = createHash("sha256").update(text).digest();
  return { high: hash.readUInt32BE(0), low: hash.readUInt32BE(4) };
}

function seedOfPeer(peer: PeerIdString): Seed {
  const known = peerSeeds.get(peer);
  if (known !== undefined) return known;
  if (peerSeeds.size >= SEED_CACHE_LIMIT) peerSeeds.clear();
  const seed = seedOf(peer);
  peerSeeds.set(peer, seed);
  return seed;
}

/** The finalizer of MurmurHash3: every bit of the input reaches every bit of the output. */
function mix(value: number): number {
  let h = value >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

function score(peer: Seed, key: Seed): number {
  const high = mix(peer.high ^ mix(key.high + 0x9e3779b9));
  const low = mix(peer.low ^ high ^ key.low);
  return high * 2 ** 21 + (low >>> 11);
}

/**
 * Members in the order of their scores for `key`, highest first (highest random weight, Thaler and
 * Ravishankar 1998): all who see the same members agree without asking, and a member that comes or goes
 * moves only the keys it ranks first for.
 */
export function rank(members: Iterable<PeerIdString>, key: string): PeerIdString[] {
  const keySeed = seedOf(key);
  return [...members]
    .map((peer) => ({ peer, score: score(seedOfPeer(peer), keySeed) }))
    .sort((a, b) => b.score - a.score || (a.peer < b.peer ? -1 : 1))
    .map(({ peer }) => peer);
}
