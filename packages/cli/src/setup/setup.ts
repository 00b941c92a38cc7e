import { CodedError } from "@shoal/api";
import { planBuildkit } from "./buildkit.ts";
import { planContainerd } from "./containerd.ts";
import { planContainers } from "./containers.ts";
import { planDocker } from "./docker.ts";
import { planK3s } from "./k3s.ts";
import type { MachineFiles } from "./machine-files.ts";
import {
  commandOf,
  type EngineName,
  type EnginePlan,
  type PlanInput,
  type PlannedFile,
} from "./plan.ts";
import { hashOf, readRecord, type SetupRecord, writeRecord } from "./record.ts";

export interface SetupInit {
  readonly engine: EngineName;
  readonly mirror: string;
  readonly registries: readonly string[];
  /** Nothing is written. */
  readonly dryRun: boolean;
  /** Home of the user whose own settings are meant; those of the machine without. */
  readonly home?: string | undefined;
}

/** What became of the files; `before` and `after` are `null` where there is no file. */
export interface SetupResult {
  readonly engine: EngineName;
  readonly state: "written" | "unchanged" | "dry-run" | "undone" | "partly-undone";
  readonly files: readonly ChangedFile[];
  readonly notes: readonly string[];
  /** The command after which the engine has read its files. */
  readonly apply?: string;
}

export interface ChangedFile {
  readonly path: string;
  readonly before: string | null;
  readonly after: string | null;
  readonly backup?: string;
}

const PLANS: Readonly<Record<EngineName, (input: PlanInput) => Promise<EnginePlan>>> = {
  docker: planDocker,
  containerd: planContainerd,
  podman: async (input) => await planContainers(input, "podman"),
  crio: async (input) => await planContainers(input, "crio"),
  buildkit: planBuildkit,
  k3s: planK3s,
};

/** What the engine's files have to become. @throws ERR_SETUP_… */
export async function planEngine(engine: EngineName, input: PlanInput): Promise<EnginePlan> {
  return await PLANS[engine](input);
}

/**
 * Makes an engine pull through the mirror. A second time changes nothing.
 * @throws ERR_SETUP_FILE, ERR_SETUP_UNSUPPORTED, ERR_SETUP_CONFLICT, ERR_SETUP_EDITED, ERR_SETUP_ACCESS
 */
export async function setUp(files: MachineFiles, init: SetupInit): Promise<SetupResult> {
  const { engine, mirror, home } = init;
  const record = await readRecord(files, engine, home);
  const recorded = record === undefined ? [] : await stillThere(files, record);
  const isMoved = recorded.length > 0 && record!.mirror !== mirror;
  // Another address of the mirror takes the place of the first: both would be asked otherwise.
  const base = isMoved
    ? await beforeSetup(files, init, record!, recorded)
    : new Map<string, string | undefined>();
  const registries = [...new Set([...(isMoved ? record!.registries : []), ...init.registries])];
  const plan = await planEngine(engine, {
    mirror,
    registries,
    home,
    files: {
      list: files.list,
      read: async (path) => (base.has(path) ? base.get(path) : await files.read(path)),
    },
  });
  const changes: PlannedFile[] = [];
  for (const file of plan.files) {
    const before = isMoved ? await files.read(file.path) : file.before;
    if (before !== file.after) changes.push({ ...file, before });
  }
  const shown = changes.map(({ path, before, after }) => ({ path, before: before ?? null, after }));
  if (changes.length === 0) return { engine, state: "unchanged", files: [], notes: plan.notes };
  const apply = plan.apply === undefined ? {} : { apply: plan.apply };
  if (init.dryRun) return { engine, state: "dry-run", files: shown, notes: plan.notes, ...apply };

  const kept = recorded.filter(({ path }) => !changes.some((change) => change.path === path));
  const entries = changes.map((change) => {
    const known = recorded.find(({ path }) => path === change.path);
    const backup =
      known !== undefined
        ? known.backup
        : change.before === undefined
          ? null
          : `${change.path}.before-shoal`;
    const { path, mark, byHand } = change;
    return { path, backup, written: hashOf(change.after), mark, byHand };
  });
  let next: SetupRecord = {
    version: 1,
    mirror,
    registries,
    files: [...kept, ...entries],
    ...apply,
    folders: record?.folders ?? [],
  };
  for (const { path, before } of changes) {
    const entry = entries.find((one) => one.path === path)!;
    const isNew = !recorded.some((one) => one.path === path);
    if (before === undefined || entry.backup === null || !isNew) continue;
    const isOwn = record?.files.some(({ backup }) => backup === entry.backup) === true;
    await files.copy(path, entry.backup, { overwrite: isOwn });
  }
  // The record is there before the first change, so that whatever has happened can be undone.
  await writeRecord(files, engine, next, home);
  for (const { path, after } of changes) {
    const made = await files.write(path, after);
    if (made.length > 0) {
      next = { ...next, folders: [...made, ...next.folders] };
      await writeRecord(files, engine, next, home);
    }
  }
  const backups = new Map(entries.map(({ path, backup }) => [path, backup]));
  return {
    engine,
    state: "written",
    files: shown.map((file) => {
      const backup = backups.get(file.path);
      return typeof backup === "string" ? { ...file, backup } : file;
    }),
    notes: plan.notes,
    ...apply,
  };
}

/** The recorded files in which Shoal still is: what somebody has taken out by hand is theirs again. */
async function stillThere(files: MachineFiles, record: SetupRecord): Promise<SetupRecord["files"]> {
  const there: SetupRecord["files"][number][] = [];
  for (const file of record.files) {
    const text = await files.read(file.path);
    if (text?.includes(file.mark) === true) there.push(file);
  }
  return there;
}

async function beforeSetup(
  files: MachineFiles,
  { engine, home }: SetupInit,
  record: SetupRecord,
  recorded: SetupRecord["files"],
): Promise<Map<string, string | undefined>> {
  const base = new Map<string, string | undefined>();
  for (const { path, backup, written } of recorded) {
    if (hashOf((await files.read(path)) ?? "") !== written)
      throw new CodedError(
        "ERR_SETUP_EDITED",
        `${path} names the mirror ${record.mirror}, and was changed since; run \`${commandOf(engine, home)} --undo\`, which says what is to be done, then set it up again`,
        { details: { path } },
      );
    base.set(path, backup === null ? undefined : await files.read(backup));
  }
  return base;
}
