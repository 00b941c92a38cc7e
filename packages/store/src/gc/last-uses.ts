import type { Digest } from "@shoal/oci";
import type { Clock } from "@shoal/runtime";
import type { RecordTable } from "../types.ts";

/** A use is written down this long after it at most: a killed daemon forgets no more. Milliseconds. */
const FLUSH_MS = 60_000;

/** When each blob was last used. Kept in memory, and in a table that is a minute behind. */
export interface LastUses extends AsyncDisposable {
  /** Reads what was written before. */
  load(): Promise<void>;
  /** Wall-clock milliseconds; `undefined` where nobody has used it since it was written. */
  of(digest: Digest): number | undefined;
  note(digest: Digest): void;
  forget(digest: Digest): Promise<void>;
}

export function createLastUses(
  table: RecordTable<number>,
  components: { readonly clock: Clock },
): LastUses {
  const { clock } = components;
  const uses = new Map<Digest, number>();
  const unwritten = new Set<Digest>();
  let timer: Disposable | undefined;

  async function flush(): Promise<void> {
    timer = undefined;
    const digests = [...unwritten];
    unwritten.clear();
    for (const digest of digests) {
      const atMs = uses.get(digest);
      if (atMs !== undefined) await table.put(digest, atMs);
    }
  }

  return {
    async load() {
      for await (const [key, atMs] of table.entries()) {
        const digest = key as Digest;
        uses.set(digest, Math.max(atMs, uses.get(digest) ?? 0));
      }
    },
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
