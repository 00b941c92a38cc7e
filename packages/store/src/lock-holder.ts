import { readFile, stat } from "node:fs/promises";

/**
 * The process that holds a lock on a file, as /proc/locks tells it; `undefined` where that can't be
 * told, since the process is another machine's or container's, or the platform is not Linux.
 */
export async function lockHolder(path: string): Promise<number | undefined> {
  try {
    const { ino } = await stat(path);
    return findLockHolder(await readFile("/proc/locks", "utf8"), ino);
  } catch {
    return undefined;
  }
}

/**
 * Reads lines such as `1: POSIX  ADVISORY  WRITE 4242 08:01:131 0 EOF`; proc_locks(5). Only the
 * inode is compared, since layered file systems report another device than stat does; where two
 * processes lock files of that inode, neither is named.
 */
export function findLockHolder(locks: string, inode: number): number | undefined {
  const holders = new Set<number>();
  for (const line of locks.split("\n")) {
    const [, , , , pid, file] = line.trim().split(/\s+/);
    if (file?.split(":").at(-1) === String(inode)) holders.add(Number(pid));
  }
  const [holder] = holders;
  return holders.size === 1 && holder! > 0 ? holder : undefined;
}
