import { createHmac, randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { makeFolder, replaceFile } from "@shoal/runtime";
import * as z from "zod";
import type { Configuration } from "../configuration.ts";

const FILE = "configuration.json";
const KEY_BYTES = 32;

/** Keyed hashes of values: a password in a proxy's URL can't be guessed from a plain one. */
const SeenSchema = z.strictObject({
  key: z.string().regex(/^[0-9a-f]{64}$/),
  settings: z.record(z.string(), z.string()),
});
type Seen = z.infer<typeof SeenSchema>;

export interface ConfigurationChange {
  readonly hash: string;
  /** Names of settings that were not so when the daemon last started; empty on the first start. */
  readonly changed: readonly string[];
}

/** Compares with what the last start has left in `folder`, and leaves this for the next. Values are never kept. */
export async function noteConfiguration(
  folder: string,
  configuration: Configuration,
): Promise<ConfigurationChange> {
  const before = await readSeen(join(folder, FILE));
  const key = before?.key ?? randomBytes(KEY_BYTES).toString("hex");
  const digest = (text: string): string => createHmac("sha256", key).update(text).digest("hex");
  const settings = Object.fromEntries(
    [...leavesOf(configuration)].map(([name, value]) => [
      name,
      digest(JSON.stringify([name, value])),
    ]),
  );
  await makeFolder(folder, 0o700);
  const text = `${JSON.stringify({ key, settings })}\n`;
  await replaceFile(join(folder, FILE), text, { mode: 0o600 });
  const old = before?.settings ?? settings;
  const names = new Set([...Object.keys(old), ...Object.keys(settings)]);
  return {
    hash: digest(JSON.stringify(Object.entries(settings).toSorted(byName))),
    changed: [...names].filter((name) => old[name] !== settings[name]).toSorted(),
  };
}

/** Each setting by its whole name; a list is one value. */
function* leavesOf(value: object, prefix = ""): Generator<[string, unknown]> {
  for (const [key, inner] of Object.entries(value)) {
    const name = `${prefix}${key}`;
    if (typeof inner === "object" && inner !== null && !Array.isArray(inner)) {
      // A registry without settings of its own is a setting too.
      if (Object.keys(inner).length === 0) yield [name, {}];
      yield* leavesOf(inner as object, `${name}.`);
    } else if (inner !== undefined) yield [name, inner];
  }
}

function byName([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : 1;
}

async function readSeen(path: string): Promise<Seen | undefined> {
  try {
    return SeenSchema.parse(JSON.parse(await readFile(path, "utf8")));
  } catch (error) {
    const isMissing = (error as NodeJS.ErrnoException).code === "ENOENT";
    // What can't be read is as good as none: everything is new then.
    if (isMissing || error instanceof SyntaxError || error instanceof z.ZodError) return undefined;
    throw error;
  }
}
