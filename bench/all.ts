import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { run } from "../test/lab/run.ts";
import { commitOf } from "./commit.ts";
import { type Figures, misses, ROWS, type Row } from "./rows.ts";

/** The longest row by far simulates a thousand members. */
const ROW_TIMEOUT_MS = 3_600_000;

/**
 * Runs every row, or those named, each in a process of its own; prints a line for each as it ends and, into a
 * folder, writes its JSON with the limits it was held to.
 * @returns how many rows are over a limit or could not be measured
 */
export async function runAll(
  folder: string | undefined,
  only: readonly string[] = ROWS.map(({ name }) => name),
): Promise<number> {
  if (folder !== undefined) await mkdir(folder, { recursive: true });
  let bad = 0;
  console.log(line(["row", "egress", "makespan", "× bound", "CPU s/GiB", "MiB", "over"]));
  for (const row of ROWS.filter(({ name }) => only.includes(name))) {
    const result = await resultOf(row).catch((error: unknown) => {
      console.log(line([row.name, `could not be measured: ${String(error).slice(0, 2000)}`]));
    });
    if (result === undefined) {
      bad += 1;
      continue;
    }
    const missed = misses(result, row.limits);
    if (missed.length > 0) bad += 1;
    const told = {
      row: row.name,
      ...result,
      command: `npm run ${row.script} -- ${row.words}`,
      commit: await commitOf(),
      limits: row.limits,
      ok: missed.length === 0,
      missed,
    };
    if (folder !== undefined)
      await writeFile(join(folder, `${row.name}.json`), `${JSON.stringify(told, undefined, 2)}\n`);
    console.log(
      line([
        row.name,
        result.egressRatio.toFixed(4),
        `${result.makespanSeconds.toFixed(2)} s`,
        result.boundRatio.toFixed(3),
        result.cpuSecondsPerGiB?.toFixed(2) ?? "",
        (result.maxRssBytes / 1024 / 1024).toFixed(0),
        missed.join(", ") || "-",
      ]),
    );
  }
  return bad;
}

async function resultOf({ script, words }: Row): Promise<Figures> {
  const root = new URL("..", import.meta.url).pathname;
  const argv = ["npm", "--prefix", root, "run", "--silent", script, "--", ...words.split(" ")];
  const text = await run([...argv, "--json"], { timeoutMs: ROW_TIMEOUT_MS });
  return JSON.parse(text.trim().split("\n").at(-1)!) as Figures;
}

function line([name, ...cells]: readonly string[]): string {
  return `${name!.padEnd(26)}${cells.map((cell) => cell.padEnd(12)).join("")}`.trimEnd();
}
