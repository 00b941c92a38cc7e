/** `npm run fuzz [-- NAME… --runs N --seed S]`: the named parsers, or all whose name begins so. */
import { parseArgs } from "node:util";
import { FUZZ_TARGETS } from "./targets.ts";
import { runTarget } from "./run-target.ts";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: "string", default: "1000000" },
    seed: { type: "string", default: "1" },
  },
});
const chosen = FUZZ_TARGETS.filter(
  ({ name }) => positionals.length === 0 || positionals.some((start) => name.startsWith(start)),
);
if (chosen.length === 0) {
  console.error(
    `no parser is named so; there are: ${FUZZ_TARGETS.map(({ name }) => name).join(", ")}`,
  );
  process.exit(2);
}
console.log(
  "| parser | inputs | accepted | refused | slowest ms | held MiB | s | findings |\n|---|---|---|---|---|---|---|---|",
);
for (const target of chosen) {
  const startMs = performance.now();
  const result = await runTarget(target, { runs: Number(values.runs), seed: Number(values.seed) });
  const seconds = ((performance.now() - startMs) / 1000).toFixed(0);
  const { name, runs, accepted, refused, slowestMs, heldBytes, findings } = result;
  const cells = [
    name,
    runs,
    accepted,
    refused,
    slowestMs.toFixed(1),
    (heldBytes / 2 ** 20).toFixed(0),
    seconds,
    findings.length,
  ];
  console.log(`| ${cells.join(" | ")} |`);
  for (const { problem, input, error } of findings) {
    process.exitCode = 1;
    const shown = Buffer.from(input);
    const stack = (error instanceof Error ? error.stack : undefined) ?? "";
    console.error(
      `${name}: ${problem}\n${JSON.stringify(shown.subarray(0, 600).toString("latin1"))} (${shown.length} bytes)\nbase64 ${shown.subarray(0, 600).toString("base64")}\n${stack.split("\n").slice(0, 6).join("\n")}\n`,
    );
  }
}
