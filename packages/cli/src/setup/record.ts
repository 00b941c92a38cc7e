import { createHash } from "node:crypto";
import { dirname } from "node:path";
import type { MachineFiles } from "./machine-files.ts";
import { brokenFile } from "./plan.ts";

/** Where a set-up is noted: of the machine, or of the user whose home this is. */
function folderOf(home: string | undefined): string {
  return home === undefined ? "/etc/shoal/setup" : `${home}/.config/shoal/setup`;
}

/** What a set-up has changed, so that it can be undone. */
export interface SetupRecord {
  readonly version: 1;
  readonly mirror: string;
  readonly registries: readonly string[];
  readonly files: readonly RecordedFile[];
  /** The command after which the engine has read its files. */
  readonly apply?: string;
  /** Folders that were made, the innermost first. */
  readonly folders: readonly string[];
}

export interface RecordedFile {
  readonly path: string;
  /** The file as it was; `null` when there was none. */
  readonly backup: string | null;
  /** sha256 of what was written. */
  readonly written: string;
  readonly mark: string;
  readonly byHand: string;
}

/** Podman and CRI-O read the same file, and so share a record. */
function recordPath(engine: string, home: string | undefined): string {
  return `${folderOf(home)}/${engine === "crio" ? "podman" : engine}.json`;
}

export function hashOf(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** @throws ERR_SETUP_FILE, ERR_SETUP_ACCESS */
export async function readRecord(
  files: MachineFiles,
  engine: string,
  home?: string,
): Promise<SetupRecord | undefined> {
  const path = recordPath(engine, home);
  const text = await files.read(path);
  if (text === undefined) return undefined;
  try {
    const record: unknown = JSON.parse(text);
    if (isRecord(record)) return record;
  } catch {
    // Told below.
  }
  throw brokenFile(path, "it is no record of `shoal setup`, which puts backups beside the files");
}

/** What is undone by it is written over and removed by root: all of it must be as it was written. */
function isRecord(value: unknown): value is SetupRecord {
  if (!isObject(value) || value["version"] !== 1) return false;
  const { mirror, registries, files, folders, apply } = value;
  return (
    typeof mirror === "string" &&
    areTexts(registries) &&
    areTexts(folders) &&
    (apply === undefined || typeof apply === "string") &&
    Array.isArray(files) &&
    files.every(isRecordedFile)
  );
}

function isRecordedFile(value: unknown): value is RecordedFile {
  if (!isObject(value)) return false;
  const { path, backup, written, mark, byHand } = value;
  return areTexts([path, written, mark, byHand]) && (backup === null || typeof backup === "string");
}

function areTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((one) => typeof one === "string");
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

/** @throws ERR_SETUP_ACCESS */
export async function writeRecord(
  files: MachineFiles,
  engine: string,
  record: SetupRecord,
  home?: string,
): Promise<void> {
  await files.write(recordPath(engine, home), `${JSON.stringify(record, undefined, 2)}\n`);
}

/** With its folders, when nothing else is in them. @throws ERR_SETUP_ACCESS */
export async function removeRecord(
  files: MachineFiles,
  engine: string,
  home?: string,
): Promise<void> {
  await files.remove(recordPath(engine, home));
  const folder = folderOf(home);
  await files.removeFolder(folder);
  await files.removeFolder(dirname(folder));
  if (home !== undefined) await files.removeFolder(`${home}/.config`);
}
