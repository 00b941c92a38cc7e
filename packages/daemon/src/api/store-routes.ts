import {
  type Collection,
  type CollectRequest,
  CollectRequestSchema,
  type Pin,
  type PinRequest,
  PinRequestSchema,
  type Verification,
} from "@shoal/api";
import { CodedError, type Logger } from "@shoal/runtime";
import type { FileStore, Pin as StoredPin, ScrubPass } from "@shoal/store";
import type { KeptImages } from "../kept-images.ts";
import type { ApiRoute } from "./server.ts";

export interface StoreRoutesComponents {
  readonly store: Pick<FileStore, "pins" | "collect" | "verify" | "scrubPass" | "rebuild">;
  readonly kept: KeptImages;
  readonly logger: Logger;
}

/** The paths about what the store keeps and lets go of. */
export function createStoreRoutes({ store, kept, logger }: StoreRoutesComponents): ApiRoute[] {
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
      path: /^\/v1\/store\/verify$/,
      async answer() {
        // Its end is asked for; what ends it early is in the log.
        store
          .verify()
          .catch((error: unknown) => logger.warn({ error }, "a verification has failed"));
        return { status: 202, body: verificationOf(store.scrubPass!) };
      },
    },
    {
      method: "GET",
      path: /^\/v1\/store\/verify$/,
      async answer() {
        const pass = store.scrubPass;
        if (pass === undefined)
          throw new CodedError(
            "ERR_NOT_VERIFIED",
            "the store has not been verified since the daemon started; run `shoal store verify`",
          );
        return { status: 200, body: verificationOf(pass) };
      },
    },
    {
      method: "POST",
      path: /^\/v1\/store\/rebuild$/,
      answer: async () => ({ status: 200, body: await store.rebuild() }),
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

function verificationOf(pass: ScrubPass): Verification {
  const { startedMs, finishedMs, findings, failure, ...counts } = pass;
  return {
    ...(failure === undefined ? {} : { error: { code: failure.code, message: failure.message } }),
    startedAt: new Date(startedMs).toISOString(),
    ...(finishedMs === undefined ? {} : { finishedAt: new Date(finishedMs).toISOString() }),
    ...counts,
    findings: [...findings],
  };
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
