import {
  chmod,
  chown,
  mkdir,
  open,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  rmdir,
  stat,
} from "node:fs/promises";
import { dirname, join } from "node:path";
import { CodedError } from "@shoal/api";
import { brokenFile, conflictingSetting, type FileReader, unsupportedFile } from "./plan.ts";

/** The files of a machine, by the paths that they have there. */
export interface MachineFiles extends FileReader {
  /** Whole or not at all, with the owner and mode of what is there. Makes folders, and tells which. @throws ERR_SETUP_ACCESS */
  write(path: string, text: string): Promise<readonly string[]>;
  /**
   * Copies bytes, owner and mode. What is in the copy's place already is written over only on request.
   * @throws ERR_SETUP_CONFLICT, ERR_SETUP_ACCESS
   */
  copy(path: string, copy: string, options: { readonly overwrite: boolean }): Promise<void>;
  /** Nothing happens when there is none. @throws ERR_SETUP_ACCESS */
  remove(path: string): Promise<void>;
  /** A folder that is not empty, or not there, is left. */
  removeFolder(path: string): Promise<void>;
}

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** @param root the folder that stands for `/` */
export function createMachineFiles(root: string): MachineFiles {
  const at = (path: string): string => join(root, path);

  /** The file that a link leads to: the link stays. */
  async function target(path: string): Promise<string> {
    const real = await realpath(at(path)).catch((error: unknown) => {
      if (isCode(error, "ENOENT")) return undefined;
      throw denied(path, error);
    });
    if (real === undefined) return at(path);
    const realRoot = (await realpath(root)).replace(/\/$/, "");
    if (!real.startsWith(`${realRoot}/`))
      throw unsupportedFile(path, `it is a link that leads out of ${root}`);
    return real;
  }

  async function makeFolder(path: string): Promise<readonly string[]> {
    const missing: string[] = [];
    for (let folder = path; folder !== "/"; folder = dirname(folder)) {
      const isThere = await stat(at(folder)).then(
        () => true,
        () => false,
      );
      if (isThere) break;
      missing.push(folder);
    }
    for (const folder of missing.toReversed()) {
      await mkdir(at(folder));
      // Engines that run as a user read it too, whatever the umask of whoever sets them up.
      await chmod(at(folder), 0o755);
    }
    return missing;
  }

  return {
    async read(path) {
      let bytes: Uint8Array;
      try {
        bytes = await readFile(await target(path));
      } catch (error) {
        if (isCode(error, "ENOENT", "ENOTDIR")) return undefined;
        throw error instanceof CodedError ? error : denied(path, error);
      }
      try {
        return UTF8.decode(bytes);
      } catch {
        throw brokenFile(path, "it is no UTF-8 text");
      }
    },

    async list(folder) {
      try {
        return (await readdir(at(folder))).toSorted();
      } catch (error) {
        if (isCode(error, "ENOENT", "ENOTDIR")) return [];
        throw denied(folder, error);
      }
    },

    async write(path, text) {
      try {
        const made = await makeFolder(dirname(path));
        const real = await target(path);
        const old = await stat(real).catch(() => undefined);
        const temporary = `${real}.shoal-new`;
        // What a killed run has left there is no one's.
        await rm(temporary, { force: true });
        {
          await using file = await open(temporary, "wx", 0o600);
          await file.writeFile(text);
          await file.sync();
        }
        if (old !== undefined) await chown(temporary, old.uid, old.gid);
        await chmod(temporary, old === undefined ? 0o644 : old.mode & 0o7777);
        await rename(temporary, real);
        return made;
      } catch (error) {
        throw error instanceof CodedError ? error : denied(path, error);
      }
    },

    async copy(path, copy, { overwrite }) {
      try {
        const bytes = await readFile(at(path));
        const { uid, gid, mode } = await stat(at(path));
        const old = await readFile(at(copy)).catch(() => undefined);
        if (old !== undefined && !overwrite && !old.equals(bytes))
          throw conflictingSetting(
            copy,
            "is there already, from something else than this set-up; move it away first",
          );
        await rm(at(copy), { force: true });
        await using file = await open(at(copy), "wx", 0o600);
        await file.writeFile(bytes);
        await file.chown(uid, gid);
        await file.chmod(mode & 0o7777);
        await file.sync();
      } catch (error) {
        throw error instanceof CodedError ? error : denied(copy, error);
      }
    },

    async remove(path) {
      await rm(at(path), { force: true }).catch((error: unknown) => {
        throw denied(path, error);
      });
    },

    async removeFolder(path) {
      await rmdir(at(path)).catch(() => undefined);
    },
  };
}

function isCode(error: unknown, ...codes: readonly string[]): boolean {
  return codes.includes((error as NodeJS.ErrnoException).code ?? "");
}

function denied(path: string, cause: unknown): CodedError<"ERR_SETUP_ACCESS"> {
  const { code } = cause as NodeJS.ErrnoException;
  const why =
    code === "EACCES" || code === "EPERM"
      ? "run this with sudo"
      : "see to the disk and the folder, then run this again";
  return new CodedError(
    "ERR_SETUP_ACCESS",
    `${path} can't be read or written (${code ?? (cause as Error).message}): ${why}`,
    { cause, details: { path } },
  );
}
