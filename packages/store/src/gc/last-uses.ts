import type { Digest } from "@shoal/oci";
import type { Clock, Logger } from "@shoal/runtime";
import type { RecordTable } from "../types.ts";

/** A use is written down this long after it at most: a killed daemon forgets no more. Milliseconds. */
const FLUSH_MS = 60_000;

/** When each blob was last used. Kept in memory, and in a table that is a minute behind. */
export interface LastUses extends AsyncDisposable {
  /** Wall-clock milliseconds; `undefined` where nobody has used it since it was written. */
  of(digest: Digest): number | undefined;
  note(digest: Digest): void;
  forget(digest: Digest): Promise<void>;
}

export async function loadLastUses(
  table: RecordTable<number>,
  components: { readonly clock: Clock; readonly logger: Logger },
): Promise<LastUses> {
  const { clock, logger } = components;
  const uses = new Map<Digest, number>();
  for await (const [digest, atMs] of table.entries()) uses.set(digest as Digest, atMs);
  const unwritten = new Set<Digest>();
  let timer: Disposable | undefined;

  async function flush(): Promise<void> {
    timer = undefined;
    const digests = [...unwritten];
    unwritten.clear();
    try {
      for (const digest of digests) {
        const atMs = uses.get(digest);
        if (atMs !== undefined) await table.put(digest, atMs);
      }
    } catch (error) {
      // The order of removal is worth less than the work that goes on.
      logger.debug({ error }, "the last uses of blobs could not be written");
    }
  }

  return {
    of: (digest) => uses.get(digest),
    note(digest) {
      uses.set(digest, clock.wallNow());
      unwritten.add(digest);
      timer ??= clock.schedule(FLUSH_MS, () => void flush());
    },
    async forget(digest) {
      unwritten.delete(digest);
      if (uses.delete(digest)) await table.delete(digest);
    },
    async [Symbol.asyncDispose]() {
      timer?.[Symbol.dispose]();
      await flush();
    },
  };
}
