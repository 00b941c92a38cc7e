import { isDeepStrictEqual } from "node:util";
import { parse, type TomlTable, TomlError } from "smol-toml";
import { brokenFile, unsupportedFile } from "./plan.ts";

/** A file's table. @throws ERR_SETUP_FILE with the line */
export function parseToml(text: string, path: string): TomlTable {
  try {
    return parse(text, { integersAsBigInt: "asNeeded" });
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const fault = error.message.split("\n")[0]!.replace("Invalid TOML document: ", "");
    throw brokenFile(path, `line ${error.line}: ${fault}`);
  }
}

/** The table at `keys`, `undefined` when there is none. */
export function tableAt(table: TomlTable, keys: readonly string[]): TomlTable | undefined {
  let at: TomlTable | undefined = table;
  for (const key of keys) at = at === undefined ? undefined : asTable(at[key]);
  return at;
}

export function asTable(value: unknown): TomlTable | undefined {
  const isTable = typeof value === "object" && value !== null && !Array.isArray(value);
  return isTable && !(value instanceof Date) ? (value as TomlTable) : undefined;
}

/** The texts of an array; none when it is not there. @throws ERR_SETUP_FILE */
export function textsAt(table: TomlTable, key: string, path: string): readonly string[] {
  const value = table[key];
  if (value === undefined) return [];
  if (!Array.isArray(value) || !value.every((item) => typeof item === "string"))
    throw brokenFile(path, `${key} is no list of texts`);
  return value;
}

export interface TomlChange {
  /** The table's keys from the root. */
  readonly table: readonly string[];
  readonly key: string;
  /** A text replaces what is there, one in a list becomes the list's first. */
  readonly value: string | readonly [string];
}

/**
 * `text` with one value set, comments and all else as they were.
 * @throws ERR_SETUP_FILE, and ERR_SETUP_UNSUPPORTED when parsing the result shows anything else than the change
 */
export function setToml(text: string, path: string, change: TomlChange): string {
  const edited = edit(text, change);
  const expected = structuredClone(parseToml(text, path));
  let at = expected;
  for (const key of change.table) at = asTable((at[key] ??= {})) ?? {};
  const old = at[change.key];
  at[change.key] =
    typeof change.value === "string"
      ? change.value
      : [...change.value, ...(Array.isArray(old) ? old : [])];
  if (!hasValue(edited, expected)) {
    const value = JSON.stringify(change.value);
    throw unsupportedFile(path, `in ${header(change.table)} set ${change.key} to ${value} by hand`);
  }
  return edited;
}

/** Whether `text` says exactly what `expected` is. */
export function hasValue(text: string, expected: TomlTable): boolean {
  try {
    const value = parse(text, { integersAsBigInt: "asNeeded" });
    return isDeepStrictEqual(structuredClone(value), structuredClone(expected));
  } catch {
    return false;
  }
}

/** `[plugins."a.b".c]` */
function header(keys: readonly string[]): string {
  return `[${keys.map((key) => (/^[A-Za-z0-9_-]+$/.test(key) ? key : JSON.stringify(key))).join(".")}]`;
}

/** Where a table begins, as a line that is none of a comment. */
export const TABLE_LINE = /^\s*\[/;

/** Line by line, which multi-line texts can mislead: whoever calls it parses what comes out. */
function edit(text: string, { table, key, value }: TomlChange): string {
  const eol = text.includes("\r\n") ? "\r\n" : "\n";
  const lines = text.split(eol);
  const start = lines.findIndex((line) => isHeader(line, table));
  const written =
    typeof value === "string" ? JSON.stringify(value) : `[${JSON.stringify(value[0])}]`;
  if (start === -1) {
    const gap = text === "" ? "" : text.endsWith(eol) ? eol : eol + eol;
    return `${text}${gap}${header(table)}${eol}  ${key} = ${written}${eol}`;
  }
  const next = lines.findIndex((line, index) => index > start && TABLE_LINE.test(line));
  const end = next === -1 ? lines.length : next;
  const assignment = new RegExp(`^(\\s*"?${key}"?\\s*=\\s*)(.*)$`);
  for (let index = start + 1; index < end; index++) {
    const [, before, old] = assignment.exec(lines[index]!) ?? [];
    if (before === undefined || old === undefined) continue;
    lines[index] = before + withValue(old, value);
    return lines.join(eol);
  }
  const indent = /^\s*/.exec(lines[start + 1] ?? "")![0] || `${/^\s*/.exec(lines[start]!)![0]}  `;
  lines.splice(start + 1, 0, `${indent}${key} = ${written}`);
  return lines.join(eol);
}

function withValue(old: string, value: string | readonly [string]): string {
  if (typeof value !== "string")
    return old.replace(/^\[(\s*\])?/, (_all, rest: string | undefined) =>
      rest === undefined ? `[${JSON.stringify(value[0])}, ` : `[${JSON.stringify(value[0])}]`,
    );
  return old.replace(/^("(?:[^"\\]|\\.)*"|'[^']*')/, () => JSON.stringify(value));
}

function isHeader(line: string, keys: readonly string[]): boolean {
  if (!TABLE_LINE.test(line) || /^\s*\[\[/.test(line)) return false;
  try {
    const named = tableAt(parse(line), keys);
    return named !== undefined && Object.keys(named).length === 0;
  } catch {
    return false;
  }
}
