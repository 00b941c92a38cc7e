import {
  type Collection,
  type CollectRequest,
  CollectRequestSchema,
  type Pin,
  type PinRequest,
  PinRequestSchema,
} from "@shoal/api";
import type { FileStore, Pin as StoredPin } from "@shoal/store";
import type { KeptImages } from "../kept-images.ts";
import type { ApiRoute } from "./server.ts";

export interface StoreRoutesComponents {
  readonly store: Pick<FileStore, "pins" | "collect">;
  readonly kept: KeptImages;
}

/** The paths about what the store keeps and lets go of. */
export function createStoreRoutes({ store, kept }: StoreRoutesComponents): ApiRoute[] {
  return [
    {
      method: "GET",
      path: /^\/v1\/pins$/,
      async answer() {
        const pins = (await store.pins()).map((pin) => ({
          ...pinOf(pin),
          sizeBytes: pin.sizeBytes,
        }));
        return { status: 200, body: { pins } };
      },
    },
    {
      method: "POST",
      path: /^\/v1\/pins$/,
      body: PinRequestSchema,
      answer: async (_groups, body) => ({
        status: 201,
        body: pinOf(await kept.keep((body as PinRequest).name)),
      }),
    },
    {
      method: "POST",
      path: /^\/v1\/pins\/remove$/,
      body: PinRequestSchema,
      answer: async (_groups, body) => ({
        status: 200,
        body: { pins: (await kept.release((body as PinRequest).name)).map(pinOf) },
      }),
    },
    {
      method: "POST",
      path: /^\/v1\/gc$/,
      body: CollectRequestSchema,
      answer: async (_groups, body) => ({
        status: 200,
        body: await collect(store, body as CollectRequest),
      }),
    },
  ];
}

function pinOf({ name, digest, atMs }: StoredPin): Pin {
  return { name, digest, pinnedAt: new Date(atMs).toISOString() };
}

async function collect(
  store: Pick<FileStore, "collect">,
  { dryRun = false, targetBytes }: CollectRequest,
): Promise<Collection> {
  const { removals, wonBytes, shortBytes } = await store.collect({ dryRun, targetBytes });
  return {
    dryRun,
    removals: removals.map(({ kind, digest, names, reason, usedMs, sizeBytes, blobs }) => ({
      kind,
      digest,
      names: [...names],
      reason,
      usedAt: new Date(usedMs).toISOString(),
      sizeBytes,
      blobs: blobs.length,
    })),
    wonBytes,
    shortBytes,
  };
}
