import { statfs } from "node:fs/promises";
import type { FileStoreInit } from "@shoal/store";
import type { Configuration } from "./configuration.ts";

const GIB = 1024 ** 3;

/** How much of its disk the store may take. */
export async function storeRoom({
  state,
  store,
}: Pick<Configuration, "state" | "store">): Promise<
  Omit<FileStoreInit, "directory"> & { readonly minFreeBytes: number }
> {
  return {
    minFreeBytes: store.minFreeBytes ?? (await defaultFloor(state)),
    highWaterPercent: store.highWaterPercent,
    scrubDays: store.scrubDays,
    lowWaterPercent: Math.min(store.lowWaterPercent, store.highWaterPercent),
    ...(store.maxBytes === 0 ? {} : { maxBytes: store.maxBytes }),
  };
}

async function defaultFloor(folder: string): Promise<number> {
  const { blocks, bsize } = await statfs(folder);
  return floorOf(blocks * bsize);
}

/**
 * What a disk needs beside the store: 5 %, and 2 GiB on a small one, but no more than a quarter of it, so that
 * a memory card or a volume of a few GiB is not left without a store.
 */
export function floorOf(diskBytes: number): number {
  return Math.floor(Math.min(Math.max(diskBytes / 20, 2 * GIB), diskBytes / 4));
}
