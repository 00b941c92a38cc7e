import type { MachineFiles } from "./machine-files.ts";
import { commandOf, type EngineName } from "./plan.ts";
import { hashOf, readRecord, type RecordedFile, removeRecord, writeRecord } from "./record.ts";
import type { ChangedFile, SetupResult } from "./setup.ts";

/**
 * Puts the files back as they were before the set-up, byte for byte. A file that was changed since
 * stays as it is, unless Shoal is no longer in it.
 * @throws ERR_SETUP_FILE, ERR_SETUP_ACCESS
 */
export async function undo(
  files: MachineFiles,
  engine: EngineName,
  dryRun: boolean,
  home?: string,
): Promise<SetupResult> {
  const record = await readRecord(files, engine, home);
  if (record === undefined)
    return {
      engine,
      state: "unchanged",
      files: [],
      notes: [`there is nothing to undo: \`${commandOf(engine, home)}\` has changed nothing here`],
    };
  const changed: ChangedFile[] = [];
  const edited: RecordedFile[] = [];
  for (const file of record.files) {
    const { path, backup } = file;
    const now = await files.read(path);
    if (now === undefined || !now.includes(file.mark)) {
      // Somebody has taken Shoal out, or the set-up ended before it came to this file.
      if (!dryRun && backup !== null) await files.remove(backup);
      continue;
    }
    const before = backup === null ? undefined : await files.read(backup);
    const isLost = backup !== null && before === undefined;
    if (hashOf(now) !== file.written || isLost) {
      edited.push(file);
      continue;
    }
    changed.push({ path, before: now, after: before ?? null });
    if (dryRun) continue;
    if (before === undefined) await files.remove(path);
    else await files.write(path, before);
    if (backup !== null) await files.remove(backup);
  }
  if (!dryRun) {
    if (edited.length > 0) await writeRecord(files, engine, { ...record, files: edited }, home);
    else {
      for (const folder of record.folders) await files.removeFolder(folder);
      await removeRecord(files, engine, home);
    }
  }
  const again = `then run \`${commandOf(engine, home)} --undo\` once more`;
  return {
    engine,
    state: edited.length > 0 ? "partly-undone" : dryRun ? "dry-run" : "undone",
    files: changed,
    ...(changed.length === 0 || record.apply === undefined ? {} : { apply: record.apply }),
    notes: edited.map(({ path, backup, byHand }) => {
      const old = backup === null ? "" : `; as it was before the set-up, it is in ${backup}`;
      return `${path} was changed after the set-up, and is left as it is: ${byHand}, ${again}${old}`;
    }),
  };
}
