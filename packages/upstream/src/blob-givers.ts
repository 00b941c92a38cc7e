import { type Clock, keepNewest } from "@shoal/runtime";

/** Who has given bytes of blobs, until somebody who has all of them tells whether they are right. */
export interface BlobGivers {
  gave(blob: string, source: string): void;
  /** False for a source that has lately given wrong bytes of the blob. */
  mayGive(blob: string, source: string): boolean;
  confirm(blob: string): void;
  /** @param sources all that the blob can be had from, in order, by their keys */
  reject(
    blob: string,
    sources: readonly { readonly key: string; readonly last: boolean }[],
  ): Verdict;
}

export interface Verdict {
  /** Gave wrong bytes, as far as can be told. */
  readonly blamed: ReadonlySet<string>;
  /** Whether one is left who has not. */
  readonly elsewhere: boolean;
}

/** A copy that has rotted at one endpoint is not asked for again for so long. Milliseconds. */
const REJECTED_MS = 3_600_000;
const MOST_BLOBS = 4096;

interface Blob {
  readonly givers: Set<string>;
  /** Until when sources are not asked for it. Monotonic milliseconds. */
  readonly rejected: Map<string, number>;
}

export function createBlobGivers(clock: Pick<Clock, "now">): BlobGivers {
  const blobs = new Map<string, Blob>();

  const isRejected = (blob: Blob | undefined, source: string): boolean =>
    (blob?.rejected.get(source) ?? Number.NEGATIVE_INFINITY) > clock.now();

  return {
    gave(key, source) {
      const blob = blobs.get(key) ?? { givers: new Set(), rejected: new Map() };
      keepNewest(blobs, key, blob, MOST_BLOBS);
      blob.givers.add(source);
    },
    mayGive: (key, source) => !isRejected(blobs.get(key), source),
    confirm(key) {
      const blob = blobs.get(key);
      if (blob === undefined) return;
      blob.givers.clear();
      if (blob.rejected.size === 0) blobs.delete(key);
    },
    reject(key, sources) {
      const blob = blobs.get(key);
      const gave = sources.filter((source) => blob?.givers.has(source.key) === true);
      if (blob === undefined || gave.length === 0) return { blamed: new Set(), elsewhere: false };
      // Of several givers nobody knows which was wrong, and the registry itself is the likeliest to be right.
      const endpoints = gave.filter(({ last }) => !last);
      const suspects = endpoints.length > 0 ? endpoints : gave;
      const blamed = new Set(suspects.map((source) => source.key));
      const leaves = (some: ReadonlySet<string>): boolean =>
        sources.some((source) => !some.has(source.key) && !isRejected(blob, source.key));
      if (!leaves(blamed)) for (const { key: other } of suspects.slice(1)) blamed.delete(other);
      const elsewhere = leaves(blamed);
      blob.givers.clear();
      // With nobody left the next pull begins anew: the blob may have been repaired somewhere.
      if (elsewhere)
        for (const source of blamed) blob.rejected.set(source, clock.now() + REJECTED_MS);
      else blobs.delete(key);
      return { blamed, elsewhere };
    },
  };
}
