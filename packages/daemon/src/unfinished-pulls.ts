import type { Clock, Logger } from "@shoal/runtime";
import type { RecordTable, Store } from "@shoal/store";

/** A pull that is begun anew so many times has perhaps ended the daemon each time. */
const MAX_BEGUN = 3;
const FORGET_MS = 24 * 3600 * 1000;

/** What it takes to begin a pull again. */
export interface UnfinishedPull {
  readonly id: string;
  readonly reference: string;
  readonly platform: string;
}

/** The pulls that are under way, so that they go on after a restart. */
export interface UnfinishedPulls {
  /** Notes that a pull has begun. */
  begun(pull: UnfinishedPull): void;
  ended(id: string): void;
  /** Those that an earlier run of the daemon left, each given once. */
  left(): Promise<readonly UnfinishedPull[]>;
}

interface Row extends UnfinishedPull {
  readonly begun: number;
  /** Wall-clock milliseconds. */
  readonly firstMs: number;
}

export function createUnfinishedPulls(
  store: Pick<Store, "table">,
  clock: Clock,
  logger: Logger,
): UnfinishedPulls {
  const table: RecordTable<Row> = store.table("pulls");
  const before = new Map<string, Row>();

  function note(work: Promise<void>): void {
    // A pull is worth more than its place after a restart.
    work.catch((error: unknown) => logger.warn({ error }, "a pull could not be noted"));
  }

  return {
    begun({ id, reference, platform }) {
      const { begun = 0, firstMs = clock.wallNow() } = before.get(id) ?? {};
      note(table.put(id, { id, reference, platform, begun: begun + 1, firstMs }));
    },
    ended(id) {
      before.delete(id);
      note(table.delete(id));
    },
    async left() {
      for await (const [id, row] of table.entries()) {
        const age = clock.wallNow() - row.firstMs;
        if (row.begun >= MAX_BEGUN || age > FORGET_MS || age < -FORGET_MS) note(table.delete(id));
        else before.set(id, row);
      }
      return [...before.values()];
    },
  };
}
