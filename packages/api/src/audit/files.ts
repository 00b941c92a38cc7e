/** The file that is written; older ones have `.1`, `.2` and so on behind it. */
export const AUDIT_FILE = "audit.jsonl";
/** Names the newest record that is surely on the disk. */
export const AUDIT_HEAD_FILE = "head";

const NAME = /^audit\.jsonl(?:\.([1-9][0-9]{0,5}))?$/;

/** @returns 0 for the file that is written, `undefined` for what is no file of the log */
export function auditFileNumber(name: string): number | undefined {
  const found = NAME.exec(name);
  return found === null ? undefined : Number(found[1] ?? 0);
}

/** The log's files of a folder's names, the oldest first. */
export function auditFilesIn(names: readonly string[]): string[] {
  return names
    .filter((name) => auditFileNumber(name) !== undefined)
    .toSorted((a, b) => auditFileNumber(b)! - auditFileNumber(a)!);
}
