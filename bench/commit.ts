import { run } from "../test/lab/run.ts";

/** How the code is that is measured; what is not committed is told. */
export async function commitOf(): Promise<string> {
  const git = async (...words: readonly string[]): Promise<string> =>
    await run(["git", "-C", import.meta.dirname, ...words]).catch(() => "");
  const head = (await git("rev-parse", "HEAD")).trim();
  const status = await git("status", "--porcelain", "--untracked-files=no");
  const changed = status
    .split("\n")
    .some((line) => line !== "" && !line.includes("bench/results/"));
  return `${head === "" ? "unknown" : head}${changed ? ", changed" : ""}`;
}
