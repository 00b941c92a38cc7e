import { open, readFile, rm } from "node:fs/promises";
import { join } from "node:path";

const MIB = 1024 * 1024;
/** What is left for the processes of a run. */
const LEFT_BYTES = 2048 * MIB;
/** With more than this the wait is longer than it is worth. */
const MOST_BYTES = 64 * 1024 * MIB;

/**
 * Has the kernel use all memory once, for its cache of a file without blocks. A virtual machine often gets its
 * memory page by page when it is first touched, and gives back what is free: each GiB of files that a run writes
 * would then cost 1.5 s of processor time that has nothing to do with it. Disposing removes the file.
 */
export async function warmMemory(folder: string): Promise<AsyncDisposable> {
  const path = join(folder, "memory");
  const bytes = (await availableBytes()) - LEFT_BYTES;
  const file = await open(path, "w+");
  try {
    if (bytes > 0 && bytes <= MOST_BYTES) {
      await file.truncate(bytes);
      const buffer = Buffer.allocUnsafeSlow(MIB);
      for (let at = 0; at < bytes; at += MIB) await file.read(buffer, 0, MIB, at);
    }
  } finally {
    await file.close();
  }
  return { [Symbol.asyncDispose]: async () => await rm(path, { force: true }) };
}

async function availableBytes(): Promise<number> {
  const text = await readFile("/proc/meminfo", "utf8");
  return Number(/^MemAvailable:\s+([0-9]+) kB$/m.exec(text)?.[1] ?? 0) * 1024;
}
