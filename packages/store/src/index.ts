/**
 * The content-addressed store: blobs arrive in pieces, are verified, and only then become visible. An
 * interrupted arrival goes on where it stopped.
 *
 * ```ts
 * await using store = await openFileStore({ clock, logger, metrics }, { directory });
 * const ingest = await store.openIngest({ digest, sizeBytes });
 * for (const piece of pieces(ingest.geometry)) await ingest.write(piece, await fetchPiece(piece));
 * await ingest.commit();
 * ```
 *
 * @packageDocumentation
 */
export * from "./bitfield.ts";
export { openFileStore } from "./file-store.ts";
export type { FileStore, FileStoreComponents, FileStoreInit } from "./file-store-types.ts";
export type { ScrubPass } from "./scrub.ts";
export type { Collection } from "./gc/collector.ts";
export * from "./geometry.ts";
export { createMemoryStore } from "./memory-store.ts";
export type { Pin } from "./pins.ts";
export type * from "./types.ts";
