import type { PeerIdString } from "@shoal/swarm";
import { encode } from "cborg";
import * as z from "zod";
import { decodeStrict } from "./strict-cbor.ts";

/** How long a key opens connections and requests are answered on them. Milliseconds. */
export const BULK_KEY_MS = 3_600_000;
const IDENTITY_BYTES = 16;
const KEY_BYTES = 32;
/** The key in use and the one that takes its place. */
const KEYS_PER_PEER = 2;

const GrantSchema = z.strictObject({
  port: z.int().min(1).max(65_535),
  identity: z.string().regex(new RegExp(`^[0-9a-f]{${IDENTITY_BYTES * 2}}$`)),
  key: z.custom<Uint8Array>(
    (value) => value instanceof Uint8Array && value.length === KEY_BYTES,
    "not a key",
  ),
  lifetimeMs: z.int().min(0).max(86_400_000),
});

/** What a member is given to open connections to the bulk port with. */
export type BulkGrant = z.infer<typeof GrantSchema>;

export function encodeGrant(grant: BulkGrant): Uint8Array {
  return encode(grant);
}

/** @throws ERR_PEER_PROTOCOL or ZodError on anything else */
export function decodeGrant(frame: Uint8Array): BulkGrant {
  return GrantSchema.parse(decodeStrict(frame));
}

interface GrantedKey {
  readonly peer: PeerIdString;
  readonly key: Uint8Array;
  readonly endsMs: number;
}

/** The keys that members hold, each good for one member and a limited time. */
export interface BulkKeys {
  /** A new key for a member; it has two at most, the older ones end. */
  grant(peer: PeerIdString, port: number): BulkGrant;
  /** Whose key it is, while it is good. */
  find(identity: string): Pick<GrantedKey, "peer" | "key"> | undefined;
  /** Ends all keys of a member. */
  revoke(peer: PeerIdString): void;
}

/**
 * @param now monotonic milliseconds
 * @param random bytes that nobody can guess
 */
export function createBulkKeys(
  now: () => number,
  random: (lengthBytes: number) => Buffer,
): BulkKeys {
  // In the order in which they were granted.
  const keys = new Map<string, GrantedKey>();

  function endAllBut(peer: PeerIdString, kept: number): void {
    const own = [...keys].filter(([, granted]) => granted.peer === peer);
    for (const [identity] of own.slice(0, Math.max(0, own.length - kept))) keys.delete(identity);
  }

  return {
    grant(peer, port) {
      endAllBut(peer, KEYS_PER_PEER - 1);
      const identity = random(IDENTITY_BYTES).toString("hex");
      const key = new Uint8Array(random(KEY_BYTES));
      keys.set(identity, { peer, key, endsMs: now() + BULK_KEY_MS });
      return { port, identity, key, lifetimeMs: BULK_KEY_MS };
    },
    find(identity) {
      const granted = keys.get(identity);
      return granted !== undefined && now() < granted.endsMs ? granted : undefined;
    },
    revoke: (peer) => endAllBut(peer, 0),
  };
}
