import { rename } from "node:fs/promises";
import { join } from "node:path";
import { CodedError, type Logger } from "@shoal/runtime";
import { Level } from "level";
import { lockHolder } from "./lock-holder.ts";
import { storeError } from "./store-io.ts";
import type { RecordTable } from "./types.ts";

/** Version of what the index holds. A daemon refuses one that is newer than its own. */
const SCHEMA_VERSION = 1;

/** What files can't say, in LevelDB. */
export interface Tables extends AsyncDisposable {
  table<Value>(name: string): RecordTable<Value>;
}

/** @throws ERR_STORE_LOCKED, ERR_STORE_SCHEMA, and what storeError makes of a failing disk */
export async function openTables(path: string, logger: Logger): Promise<Tables> {
  const database = await openOrReplace(path, logger);
  const meta = database.sublevel<string, number>("meta", { valueEncoding: "json" });
  const schema = await meta.get("schema");
  if (schema !== undefined && schema > SCHEMA_VERSION) {
    await database.close();
    throw new CodedError(
      "ERR_STORE_SCHEMA",
      `${path} was written by a newer Shoal (schema ${schema}, this one knows ${SCHEMA_VERSION}); run that version, or set state to another folder`,
      { details: { path, schema } },
    );
  }
  if (schema === undefined) await meta.put("schema", SCHEMA_VERSION);

  return {
    table<Value>(name: string): RecordTable<Value> {
      const rows = database.sublevel<string, Value>(name, { valueEncoding: "json" });
      return {
        get: async (key) => await rows.get(key),
        async put(key, value, options = {}) {
          try {
            await rows.put(key, value, { sync: options.durable ?? false } as object);
          } catch (error) {
            throw storeError(error, path);
          }
        },
        delete: async (key) => await rows.del(key),
        async *entries(prefix = "") {
          for await (const [key, value] of rows.iterator({ gte: prefix }))
            if (key.startsWith(prefix)) yield [key, value] as const;
            else return;
        },
      };
    },
    [Symbol.asyncDispose]: async () => await database.close(),
  };
}

async function openOrReplace(path: string, logger: Logger): Promise<Level> {
  const first = new Level(path);
  try {
    await first.open();
    return first;
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
    if (!isDamaged(error)) throw storeError(causeOf(error), path);
    // The blobs are the truth. What the index held is found again or can be done without.
    const aside = `${path}.damaged-${process.pid}`;
    logger.warn(
      { error, path, aside },
      "the store's index is damaged; it is put aside and made anew",
    );
    await rename(path, aside);
    const second = new Level(path);
    await second.open();
    return second;
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
