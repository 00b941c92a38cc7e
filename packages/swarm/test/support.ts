import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import {
  type Digest,
  digestOf,
  isDigest,
  MEDIA_TYPES,
  parseReference,
  type Repository,
  type Tag,
} from "@shoal/oci";
import { CodedError, noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import { createMemoryStore, type Store } from "@shoal/store";
import type { Upstream } from "@shoal/upstream";
import { createManualClock } from "@shoal/runtime/testing";
import { createDirectory, type Directory } from "../src/directory.ts";
import { createSwarm, type PeerTransport, type Swarm, type SwarmInit } from "../src/index.ts";
import { testPeerId } from "../src/testing.ts";
import type { PeerIdString } from "../src/transport.ts";

export const repository: Repository = parseReference("registry.test/app").repository;
export const tag = "v1" as Tag;

/** One registry that all members of a test share, with what was asked of it. */
export interface Origin extends Upstream {
  readonly blobs: Map<Digest, Uint8Array>;
  readonly tagged: Map<string, Digest>;
  readonly counts: { blobBytes: number; blobGets: number; manifestGets: number; heads: number };
  /** Thrown by every call when set. */
  failure: CodedError | undefined;
  /** Milliseconds between chunks of 64 KiB. */
  chunkMs: number;
}

export function createOrigin(): Origin {
  const origin: Origin = {
    blobs: new Map(),
    tagged: new Map(),
    counts: { blobBytes: 0, blobGets: 0, manifestGets: 0, heads: 0 },
    failure: undefined,
    chunkMs: 0,
    async headManifest(_repository, name) {
      if (origin.failure) throw origin.failure;
      origin.counts.heads += 1;
      const digest = isDigest(name) ? name : origin.tagged.get(name);
      return digest === undefined ? {} : { digest };
    },
    async manifest(_repository, name) {
      if (origin.failure) throw origin.failure;
      origin.counts.manifestGets += 1;
      await delay(5);
      const digest = isDigest(name) ? name : origin.tagged.get(name);
      const bytes = digest && origin.blobs.get(digest);
      if (digest === undefined || bytes === undefined) throw notFound();
      return { digest, mediaType: MEDIA_TYPES.ociManifest, bytes };
    },
    async headBlob(_repository, digest) {
      if (origin.failure) throw origin.failure;
      const bytes = origin.blobs.get(digest);
      if (bytes === undefined) throw notFound();
      return { digest, sizeBytes: bytes.length };
    },
    async blob(_repository, digest, options = {}) {
      if (origin.failure) throw origin.failure;
      const bytes = origin.blobs.get(digest);
      if (bytes === undefined) throw notFound();
      origin.counts.blobGets += 1;
      const { start = 0, end = bytes.length, signal } = options;
      async function* body(all: Uint8Array): AsyncGenerator<Uint8Array> {
        for (let at = start; at < end; at += 65_536) {
          signal?.throwIfAborted();
          if (origin.failure) throw origin.failure;
          const chunk = all.subarray(at, Math.min(end, at + 65_536));
          origin.counts.blobBytes += chunk.length;
          if (origin.chunkMs > 0) await delay(origin.chunkMs, undefined, { signal });
          yield chunk;
        }
      }
      return { start, sizeBytes: bytes.length, body: body(bytes) };
    },
    confirm: () => undefined,
    reject: () => false,
    tags: async () => await Promise.reject(notFound()),
    referrers: async () => await Promise.reject(notFound()),
    pause: () => undefined,
    health: () => [],
    async [Symbol.asyncDispose]() {},
  };
  return origin;
}

export function notFound(): CodedError {
  return new CodedError("ERR_UPSTREAM_NOT_FOUND", "the registry has no such thing");
}

export function unreachable(): CodedError {
  return new CodedError("ERR_UPSTREAM_UNREACHABLE", "the registry does not answer");
}

/** Adds a random blob to the registry. */
export function addBlob(origin: Origin, sizeBytes: number): { digest: Digest; bytes: Uint8Array } {
  const bytes = new Uint8Array(randomBytes(sizeBytes));
  const digest = digestOf(bytes);
  origin.blobs.set(digest, bytes);
  return { digest, bytes };
}

/** Adds a manifest under the tag. */
export function addTag(origin: Origin, text = "{}"): Digest {
  const bytes = Buffer.from(JSON.stringify({ mediaType: MEDIA_TYPES.ociManifest, note: text }));
  const digest = digestOf(bytes);
  origin.blobs.set(digest, new Uint8Array(bytes));
  origin.tagged.set(tag, digest);
  return digest;
}

export interface Member extends AsyncDisposable {
  readonly swarm: Swarm;
  readonly store: Store;
}

export async function createMember(
  upstream: Upstream,
  transport?: PeerTransport,
  init: SwarmInit = {},
  store: Store = createMemoryStore(),
): Promise<Member> {
  const swarm = await createSwarm(
    {
      ...(transport === undefined ? {} : { transport }),
      store,
      upstream,
      clock: systemClock,
      random: Math.random,
      logger: silentLogger,
      metrics: noMetrics,
    },
    init,
  );
  return {
    swarm,
    store,
    async [Symbol.asyncDispose]() {
      await swarm[Symbol.asyncDispose]();
    },
  };
}

/** The directory of a member with an empty store, among others that answer `done` to all. */
export function createTestDirectory(members: readonly PeerIdString[]): Directory {
  const done = async (): Promise<never> => ({ type: "done" }) as never;
  return createDirectory({
    transport: { self: testPeerId("self"), members: () => [...members] },
    peers: { ask: done, block: done, prepare() {} },
    store: createMemoryStore(),
    clock: createManualClock(),
    random: () => 0.5,
    audits: { sync: async () => undefined },
    conduct: { mayLease: () => true, trusts: () => true },
    logger: silentLogger,
    gives: () => true,
  });
}

/** Reads all of a blob through a member. */
export async function read(
  member: Member,
  digest: Digest,
  sizeBytes?: number,
  range?: { start: number; end: number },
): Promise<Uint8Array> {
  const request = { digest, repository, ...(sizeBytes === undefined ? {} : { sizeBytes }) };
  await using blob = await member.swarm.open(request);
  const chunks: Uint8Array[] = [];
  for await (const chunk of blob.stream(range)) chunks.push(chunk);
  return new Uint8Array(Buffer.concat(chunks));
}

/** Whether two byte arrays are the same; a matcher that compares element by element takes seconds. */
export function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}
