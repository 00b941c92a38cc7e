import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";

/** Shorter ones would be found by chance. */
const MIN_SECRET = 8;
/** Content of images above this is passed over: it is what its digest says, and was not made here. */
const MAX_CONTENT_BYTES = 1024 * 1024;
/** The scheme of a header with something behind it that is a credential. */
const CREDENTIAL = /\b(?:Basic|Bearer)\s+[A-Za-z0-9+/_=.~-]{12,}/i;
/** The header itself, with any value. */
const HEADER = /authorization\\?["']?\s*[:=]\s*\\?["']?[^\s"'\\]/i;

/** Everything that serves as a login in a suite: to be found nowhere but where it belongs. */
export interface Secrets {
  readonly known: readonly string[];
  /** @throws Error for one that is too short to be looked for */
  add(...secrets: readonly string[]): void;
  addLogin(username: string, password: string): void;
}

export function createSecrets(): Secrets {
  const known = new Set<string>();
  const add = (...secrets: readonly string[]): void => {
    for (const secret of secrets) {
      if (secret.length < MIN_SECRET)
        throw new Error(`a secret of ${secret.length} characters is found by chance`);
      known.add(secret);
    }
  };
  return {
    get known() {
      return [...known];
    },
    add,
    addLogin(username, password) {
      add(password, Buffer.from(`${username}:${password}`).toString("base64"));
    },
  };
}

/** Where secrets are looked for. */
export interface SecretPlaces {
  /** By a name for messages: what is written for people or machines, headers are looked for in it as well. */
  readonly texts?: Readonly<Record<string, string>>;
  /** Every file in it is read; in JSON lines headers are looked for as well. What is not there has nothing in it. */
  readonly folder?: string;
  /** Files of the folder, relative to it, in which a secret is at home. */
  readonly homes?: readonly string[];
}

/** @returns a line for each find, which does not repeat the secret */
export async function findSecrets(
  secrets: readonly string[],
  places: SecretPlaces,
): Promise<string[]> {
  const found: string[] = [];
  for (const [name, text] of Object.entries(places.texts ?? {}))
    found.push(...findIn(name, Buffer.from(text), secrets), ...findHeaders(name, text));
  const { folder, homes = [] } = places;
  if (folder === undefined) return found;
  for (const path of await filesBelow(folder))
    if (!homes.includes(path)) {
      const bytes = await readFile(join(folder, path)).catch(nothingThere);
      if (bytes === undefined) continue;
      found.push(...findIn(path, bytes, secrets));
      if (path.includes(".jsonl")) found.push(...findHeaders(path, bytes.toString()));
    }
  return found;
}

function findIn(place: string, bytes: Buffer, secrets: readonly string[]): string[] {
  return secrets.flatMap((secret, index) => {
    const form = formsOf(secret).find((one) => bytes.includes(one));
    return form === undefined ? [] : [`${place}: secret ${index}, ${secret.slice(0, 3)}…`];
  });
}

function findHeaders(place: string, text: string): string[] {
  return [
    ...(CREDENTIAL.test(text) ? [`${place}: a credential after its scheme`] : []),
    ...(HEADER.test(text) ? [`${place}: an Authorization header`] : []),
  ];
}

/** As it is, and as it stands in JSON, in a URL, and in base64. */
function formsOf(secret: string): string[] {
  const base64 = Buffer.from(secret).toString("base64").replace(/=+$/, "");
  return [secret, JSON.stringify(secret).slice(1, -1), encodeURIComponent(secret), base64];
}

async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(
    nothingThere,
  );
  const files: string[] = [];
  for (const entry of entries ?? []) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const isContent = /\/(?:blobs|ingests?)\//.test(path);
    const size = (await stat(path).catch(nothingThere))?.size ?? 0;
    if (!isContent || size <= MAX_CONTENT_BYTES) files.push(path.slice(folder.length + 1));
  }
  return files;
}

function nothingThere(error: NodeJS.ErrnoException): undefined {
  if (error.code !== "ENOENT") throw error;
}
