import { rename } from "node:fs/promises";
import { join } from "node:path";
import { CodedError, hasCode, type Logger } from "@shoal/runtime";
import { Level } from "level";
import { lockHolder } from "./lock-holder.ts";
import { storeError } from "./store-io.ts";
import type { RecordTable } from "./types.ts";

/** Version of what the index holds. A daemon refuses one that is newer than its own. */
const SCHEMA_VERSION = 1;
/** Records that are kept in memory while the disk takes none. */
const MAX_UNWRITTEN = 10_000;

/** What files can't say, in LevelDB. While the disk takes nothing, in memory what need not be durable. */
export interface Tables extends AsyncDisposable {
  /** Whether what was written before can be read. */
  readonly isOpen: boolean;
  /** Whether the index has been made anew, since it was missing or past repair. */
  readonly isNew: boolean;
  table<Value>(name: string): RecordTable<Value>;
  /** Opens the database anew, since LevelDB takes nothing more once a write has failed, and writes what waits. */
  reopen(): Promise<void>;
}

export interface TablesComponents {
  readonly logger: Logger;
  /** Something could not be written. */
  readonly onFailure: (error: unknown) => void;
}

interface Unwritten {
  readonly value?: unknown;
}

/** @throws ERR_STORE_LOCKED, ERR_STORE_SCHEMA, ERR_STORE_PERMISSION */
export async function openTables(path: string, components: TablesComponents): Promise<Tables> {
  const { logger, onFailure } = components;
  /** By table and key; without a value it is deleted. */
  const unwritten = new Map<string, Map<string, Unwritten>>();
  let unwrittenCount = 0;
  let database: Level | undefined;
  /** Why it could not be opened. */
  let failure: unknown;
  let isNew = false;
  let isClosed = false;
  /** Resolves when the database is not being opened anew. */
  let ready: Promise<void> = Promise.resolve();

  async function openDatabase(): Promise<void> {
    const opened = await openOrRepair(path, logger);
    const meta = opened.sublevel<string, number>("meta", { valueEncoding: "json" });
    const schema = await meta.get("schema");
    if (schema !== undefined && schema > SCHEMA_VERSION) {
      await opened.close();
      throw new CodedError(
        "ERR_STORE_SCHEMA",
        `${path} was written by a newer Shoal (schema ${schema}, this one knows ${SCHEMA_VERSION}); run that version, or set state to another folder`,
        { details: { path, schema } },
      );
    }
    isNew = schema === undefined;
    try {
      if (isNew) await meta.put("schema", SCHEMA_VERSION);
    } catch (error) {
      await opened.close();
      throw storeError(causeOf(error), path);
    }
    database = opened;
  }

  function failed(error: unknown): CodedError {
    const fault = storeError(causeOf(error), path);
    // A database that was closed on purpose is no trouble of the disk's.
    if (!isClosed) onFailure(fault);
    return fault;
  }

  function waiting(name: string): Map<string, Unwritten> {
    const known = unwritten.get(name) ?? new Map<string, Unwritten>();
    unwritten.set(name, known);
    return known;
  }

  function wait(name: string, key: string, entry: Unwritten): void {
    const rows = waiting(name);
    if (!rows.has(key)) {
      if (unwrittenCount >= MAX_UNWRITTEN) return;
      unwrittenCount += 1;
    }
    rows.set(key, entry);
  }

  function written(name: string, key: string): void {
    if (waiting(name).delete(key)) unwrittenCount -= 1;
  }

  function table<Value>(name: string): RecordTable<Value> {
    const rowsOf = (from: Level) => from.sublevel<string, Value>(name, { valueEncoding: "json" });
    let rows: ReturnType<typeof rowsOf> | undefined;
    let of: Level | undefined;
    const rowsNow = (): ReturnType<typeof rowsOf> | undefined => {
      if (of !== database) rows = database && rowsOf(database);
      of = database;
      return rows;
    };

    async function write(
      key: string,
      entry: Unwritten,
      durable: boolean,
      work: (rows: ReturnType<typeof rowsOf>) => Promise<void>,
    ): Promise<void> {
      await ready;
      try {
        const known = rowsNow();
        if (known === undefined) throw failure;
        await work(known);
        written(name, key);
      } catch (error) {
        const fault = failed(error);
        if (durable) throw fault;
        wait(name, key, entry);
      }
    }

    return {
      async get(key) {
        await ready;
        const entry = unwritten.get(name)?.get(key);
        if (entry !== undefined) return entry.value as Value | undefined;
        try {
          return await rowsNow()?.get(key);
        } catch (error) {
          // All that is asked for by key is found again elsewhere, or done without.
          failed(error);
          return undefined;
        }
      },
      async put(key, value, { durable = false } = {}) {
        await write(key, { value }, durable, async (known) => {
          await known.put(key, value, { sync: durable } as object);
        });
      },
      async delete(key) {
        await write(key, {}, false, async (known) => await known.del(key));
      },
      async *entries(prefix = "") {
        await ready;
        const waits = [...(unwritten.get(name) ?? [])];
        const hidden = new Map(waits.filter(([key]) => key.startsWith(prefix)));
        for await (const [key, value] of rowsNow()?.iterator({ gte: prefix }) ?? []) {
          if (!key.startsWith(prefix)) break;
          if (!hidden.has(key)) yield [key, value] as const;
        }
        for (const [key, entry] of hidden)
          if ("value" in entry) yield [key, entry.value as Value] as const;
      },
    };
  }

  try {
    await openDatabase();
  } catch (error) {
    if (!hasCode(error, "ERR_STORE_FULL", "ERR_STORE_READ_ONLY", "ERR_STORE_IO")) throw error;
    failure = error;
    onFailure(error);
  }

  return {
    get isOpen() {
      return database !== undefined;
    },
    get isNew() {
      return isNew;
    },
    table,
    async reopen() {
      const before = database;
      database = undefined;
      const reopening = (async () => {
        await before?.close();
        await openDatabase();
      })();
      ready = reopening.catch((error: unknown) => {
        failure = error;
      });
      await reopening;
      for (const [name, rows] of unwritten)
        for (const [key, entry] of rows)
          if ("value" in entry) await table(name).put(key, entry.value);
          else await table(name).delete(key);
    },
    async [Symbol.asyncDispose]() {
      isClosed = true;
      await database?.close();
    },
  };
}

async function openOrRepair(path: string, logger: Logger): Promise<Level> {
  try {
    return await open(path);
  } catch (error) {
    if (!isDamaged(error)) throw error;
    logger.warn({ error, path }, "the store's index is damaged; it is repaired");
  }
  try {
    // Node's Level is classic-level's, which has it; the types are those of browsers as well.
    await (Level as unknown as { repair(path: string): Promise<void> }).repair(path);
    return await open(path);
  } catch (error) {
    // The blobs are the truth. What the index held is found again or can be done without.
    const aside = `${path}.damaged-${process.pid}`;
    logger.warn(
      { error, path, aside },
      "the store's index is past repair; it is put aside and made anew",
    );
    await rename(path, aside);
    return await open(path);
  }
}

async function open(path: string): Promise<Level> {
  const level = new Level(path);
  try {
    await level.open();
    return level;
  } catch (error) {
    if (isLocked(error)) {
      const pid = await lockHolder(join(path, "LOCK"));
      const who = pid === undefined ? "another daemon" : `another daemon (process ${pid})`;
      throw new CodedError(
        "ERR_STORE_LOCKED",
        `${who} uses the store at ${path}; stop it, or set state to another folder`,
        { cause: error, details: { path, pid } },
      );
    }
    throw isDamaged(error) ? error : storeError(causeOf(error), path);
  }
}

function isLocked(error: unknown): boolean {
  return (causeOf(error) as NodeJS.ErrnoException | undefined)?.code === "LEVEL_LOCKED";
}

function isDamaged(error: unknown): boolean {
  const cause = causeOf(error);
  return (
    (cause as NodeJS.ErrnoException | undefined)?.code === "LEVEL_CORRUPTION" ||
    // A file that the index names and that is gone reads as a fault of the disk.
    (cause instanceof Error && /corrupt|No such file/i.test(cause.message))
  );
}

function causeOf(error: unknown): unknown {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
  if (!(cause instanceof Error)) return cause;
  // LevelDB tells of the operating system's errors in words alone.
  const errno = [
    ["Permission denied", "EACCES"],
    ["Read-only file system", "EROFS"],
    ["No space left", "ENOSPC"],
  ].find(([words]) => cause.message.includes(words!))?.[1];
  if (errno !== undefined) return Object.assign(new Error(cause.message), { code: errno });
  return cause;
}
