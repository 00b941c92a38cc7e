import { CodedError } from "@shoal/api";

export const ENGINES = ["docker", "containerd", "podman", "crio", "buildkit", "k3s"] as const;
export type EngineName = (typeof ENGINES)[number];

/** Public registries whose engines have no setting for all registries at once. */
export const PUBLIC_REGISTRIES: readonly string[] = [
  "docker.io",
  "gcr.io",
  "ghcr.io",
  "mcr.microsoft.com",
  "public.ecr.aws",
  "quay.io",
  "registry.k8s.io",
];

/** What is read of the machine: texts of files, by the paths that engines know them by. */
export interface FileReader {
  /** `undefined` when there is no such file. @throws ERR_SETUP_FILE, ERR_SETUP_ACCESS */
  read(path: string): Promise<string | undefined>;
  /** Names in a folder, sorted; none when it is not there. @throws ERR_SETUP_ACCESS */
  list(folder: string): Promise<readonly string[]>;
}

export interface PlanInput {
  readonly files: FileReader;
  /** `host:port` of Shoal's mirror, as the engine reaches it. */
  readonly mirror: string;
  /** Registries for engines that name each one. */
  readonly registries: readonly string[];
  /** Home of the user whose own settings are meant; those of the machine without. */
  readonly home?: string | undefined;
}

export interface PlannedFile {
  readonly path: string;
  readonly before: string | undefined;
  /** The same as `before` where nothing has to change. */
  readonly after: string;
  /** A text that is in the file for as long as Shoal is in it. */
  readonly mark: string;
  /** How a person takes Shoal out of the file. */
  readonly byHand: string;
}

/** What an engine's files have to become. */
export interface EnginePlan {
  readonly files: readonly PlannedFile[];
  /** What whoever reads this has to know, whole sentences. */
  readonly notes: readonly string[];
  /** Settings by which the engine goes past the mirror still. */
  readonly bypasses: readonly Bypass[];
  /** The command after which the engine has read its files; none where it reads them for each pull. */
  readonly apply?: string;
}

/** Registries for which an engine has settings of their own, in which the mirror is not. */
export interface Bypass {
  readonly registries: string;
  readonly path: string;
  /** What changes it. */
  readonly todo: string;
}

export function noteOf({ registries, path, todo }: Bypass): string {
  return `${registries}: the engine has settings of its own for this in ${path}, and goes by those, not through Shoal; to change it, ${todo}.`;
}

/** The command of a set-up, as a person writes it. */
export function commandOf(engine: EngineName, home?: string): string {
  return `shoal setup ${engine}${home === undefined ? "" : " --user"}`;
}

/** A file that can't be read as what it should be. */
export function brokenFile(path: string, fault: string): CodedError<"ERR_SETUP_FILE"> {
  return new CodedError(
    "ERR_SETUP_FILE",
    `${path} is left alone, since it can't be understood: ${fault}; mend it, then run this again`,
    { details: { path } },
  );
}

/** A file that is right, but written in a way that is not edited without danger. */
export function unsupportedFile(path: string, todo: string): CodedError<"ERR_SETUP_UNSUPPORTED"> {
  return new CodedError(
    "ERR_SETUP_UNSUPPORTED",
    `${path} is left alone, since it is written in a way that Shoal can't add to: ${todo}`,
    { details: { path } },
  );
}

/** A setting beside which the engine would not start, or would not use the mirror. */
export function conflictingSetting(path: string, fault: string): CodedError<"ERR_SETUP_CONFLICT"> {
  return new CodedError("ERR_SETUP_CONFLICT", `nothing was changed: ${path} ${fault}`, {
    details: { path },
  });
}

/** The first line of a file that Shoal makes. */
export function writtenBy(engine: EngineName, home?: string): string {
  const command = commandOf(engine, home);
  return `# Written by \`${command}\`; \`${command} --undo\` takes it away.\n`;
}
