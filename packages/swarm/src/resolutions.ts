import { type Digest, MANIFEST_ACCEPT } from "@shoal/oci";
import { type Clock, keepNewest } from "@shoal/runtime";
import type { RecordTable, Store } from "@shoal/store";
import { encode } from "cborg";
import type { PeerIdString } from "./transport.ts";
import type { SignedRecord } from "./wire/messages.ts";

/** So many are kept in memory. */
const MAX_RECENT = 1000;

/** What a tag named, and when the upstream said so. */
export interface StoredResolution {
  readonly digest: Digest;
  readonly mediaType: string;
  /** Wall-clock milliseconds. */
  readonly atMs: number;
}

/** The question that a resolution answers. */
export interface Question {
  /** `registry/name` */
  readonly repository: string;
  /** A tag or a digest. */
  readonly name: string;
  /** `*` alone, or the sorted media types that the client accepts. */
  readonly accept: readonly string[];
}

/** This member's memory of what tags named. */
export interface Resolutions {
  get(question: Question): Promise<(StoredResolution & { readonly ageMs: number }) | undefined>;
  /** Keeps a resolution unless a younger one is there. */
  put(question: Question, resolution: Omit<StoredResolution, "atMs">, ageMs: number): Promise<void>;
}

export function createResolutions(store: Pick<Store, "table">, clock: Clock): Resolutions {
  const table: RecordTable<StoredResolution> = store.table("resolutions");
  const recent = new Map<string, StoredResolution>();

  async function load(key: string): Promise<StoredResolution | undefined> {
    const kept = recent.get(key);
    if (kept !== undefined) return kept;
    const stored = await table.get(key);
    if (stored !== undefined && !recent.has(key)) remember(key, stored);
    return recent.get(key);
  }

  function remember(key: string, resolution: StoredResolution): void {
    keepNewest(recent, key, resolution, MAX_RECENT);
  }

  return {
    async get(question) {
      const found = await load(keyOf(question));
      if (found === undefined) return undefined;
      return { ...found, ageMs: Math.max(0, clock.wallNow() - found.atMs) };
    },
    async put(question, { digest, mediaType }, ageMs) {
      const key = keyOf(question);
      const atMs = clock.wallNow() - ageMs;
      const known = await load(key);
      // A time ahead of the clock is from before the clock was set back.
      if (known !== undefined && known.atMs >= atMs && known.atMs <= clock.wallNow()) return;
      remember(key, { digest, mediaType, atMs });
      await table.put(key, { digest, mediaType, atMs });
    },
  };
}

function keyOf({ repository, name, accept }: Question): string {
  return `${repository}:${name} ${accept.join(",")}`;
}

/** The part of a client's `Accept` that a resolution depends on: everything that takes all manifests is alike. */
export function acceptKey(accept: readonly string[] | undefined): readonly string[] {
  if (accept === undefined || accept.length === 0) return ["*"];
  const asked = new Set(accept.map((type) => type.split(";")[0]!.trim().toLowerCase()));
  if (asked.has("*/*") || MANIFEST_ACCEPT.every((type) => asked.has(type))) return ["*"];
  return [...asked]
    .filter((type) => type.length <= 255)
    .sort()
    .slice(0, 32);
}

/** The media types to send upstream for a key of {@link acceptKey}. */
export function acceptOf(key: readonly string[]): readonly string[] {
  return key.includes("*") ? MANIFEST_ACCEPT : key;
}

/** What a record's signature is over. */
export function recordPayload(record: Omit<SignedRecord, "signature">): Uint8Array {
  const { repository, name, accept, digest, mediaType, ageMs, signer } = record;
  return encode(["shoal/resolve/1", repository, name, accept, digest, mediaType, ageMs, signer]);
}

/** Whether a record answers the question and was sent by its signer. Its signature is checked elsewhere. */
export function answers(record: SignedRecord, question: Question, from: PeerIdString): boolean {
  return (
    record.signer === from &&
    record.repository === question.repository &&
    record.name === question.name &&
    record.accept.join(",") === question.accept.join(",")
  );
}
