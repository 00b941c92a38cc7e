import { setImmediate } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { hasCode } from "@shoal/runtime";
import { mutateBytes, repeated } from "./mutate-bytes.ts";
import { mutateValue } from "./mutate-value.ts";
import { createRandom, type Random } from "./random.ts";
import type { FuzzTarget } from "./target.ts";

/** No input may take longer. */
const MOST_MS = 100;
/** No run of any length may leave more behind, nor one input take more. */
const MOST_HELD_BYTES = 128 * 1024 * 1024;
const CHECK_EVERY = 200_000;
/** A machine that does other work as well is late now and then, and not thrice with the same input. */
const TRIES = 4;

export interface FuzzFinding {
  readonly problem: string;
  readonly input: Uint8Array;
  readonly error?: unknown;
}

export interface FuzzResult {
  readonly name: string;
  readonly runs: number;
  readonly accepted: number;
  readonly refused: number;
  readonly slowestMs: number;
  readonly heldBytes: number;
  readonly findings: readonly FuzzFinding[];
}

export interface FuzzRun {
  readonly runs: number;
  readonly seed: number;
  /** Ends early after so long. Milliseconds. */
  readonly forMs?: number;
  readonly mostFindings?: number;
}

interface Outcome {
  readonly ms: number;
  readonly threw: boolean;
  readonly error?: unknown;
}

/** Gives the target its examples, inputs as long as it takes, and then mutations. */
export async function runTarget(target: FuzzTarget, run: FuzzRun): Promise<FuzzResult> {
  const random = createRandom(run.seed);
  const findings: FuzzFinding[] = [];
  const endMs = performance.now() + (run.forMs ?? Number.POSITIVE_INFINITY);
  const startBytes = await heldBytes();
  let [runs, accepted, refused, slowestMs, mostBytes] = [0, 0, 0, 0, 0];

  function find(problem: string, input: Uint8Array, error?: unknown): void {
    if (findings.length < (run.mostFindings ?? 5)) findings.push({ problem, input, error });
  }

  async function once(input: Uint8Array): Promise<Outcome> {
    const startMs = performance.now();
    try {
      const given = target.parse(input);
      if (given instanceof Promise) await given;
      return { ms: performance.now() - startMs, threw: false };
    } catch (error) {
      return { ms: performance.now() - startMs, threw: true, error };
    }
  }

  async function give(input: Uint8Array): Promise<void> {
    let outcome = await once(input);
    for (let tries = 1; tries < TRIES && outcome.ms > MOST_MS / 2; tries++) {
      const again = await once(input);
      if (again.ms < outcome.ms) outcome = again;
    }
    runs += 1;
    slowestMs = Math.max(slowestMs, outcome.ms);
    if (outcome.ms > MOST_MS) find(`took ${Math.round(outcome.ms)} ms`, input);
    if (!outcome.threw) accepted += 1;
    else if (isRefusal(target, outcome.error)) refused += 1;
    else find("threw what is no refusal", input, outcome.error);
    if (runs % CHECK_EVERY === 0) mostBytes = Math.max(mostBytes, (await heldBytes()) - startBytes);
  }

  for (const input of [...target.examples, ...giants(target)]) await give(input);
  for (const value of target.values?.of ?? []) await give(target.values!.encode(value));
  const before = runs;
  while (runs - before < run.runs && performance.now() < endMs) await give(inputOf(random, target));
  mostBytes = Math.max(mostBytes, (await heldBytes()) - startBytes);
  if (mostBytes > MOST_HELD_BYTES) find(`held ${mostBytes} bytes`, new Uint8Array());
  return { name: target.name, runs, accepted, refused, slowestMs, heldBytes: mostBytes, findings };
}

function isRefusal(target: FuzzTarget, error: unknown): boolean {
  return hasCode(error, ...target.refuses) || target.isRefusal?.(error) === true;
}

function inputOf(
  random: Random,
  { values, examples, dictionary, mostBytes }: FuzzTarget,
): Uint8Array {
  if (values === undefined || random.below(2) === 0) {
    const encoded = values === undefined ? [] : [values.encode(random.pick(values.of))];
    return mutateBytes(random, [...examples, ...encoded], dictionary, mostBytes);
  }
  let value = random.pick(values.of);
  for (let changes = 1 + random.below(3); changes > 0; changes--)
    value = mutateValue(random, value);
  return values.encode(value).subarray(0, mostBytes);
}

/** As long as inputs can be: one thing again and again, which is what takes long or nests deeply. */
function* giants({ examples, dictionary, mostBytes }: FuzzTarget): Generator<Uint8Array> {
  const units = [
    "[",
    "{",
    '{"a":',
    "(",
    "<",
    "- ",
    " ",
    "\n",
    '"',
    "\\",
    "=",
    ",",
    ";",
    "a",
    "0",
    "a,",
    "a=",
    'a="\\',
    "&a ",
    "*a ",
  ].map((text) => Buffer.from(text));
  const cbor = [
    Buffer.from([0x81]),
    Buffer.from([0xa1, 0x60]),
    Buffer.from([0xc1]),
    Buffer.from([0xff]),
  ];
  const [first = new Uint8Array()] = examples;
  for (const unit of [...units, ...cbor, ...dictionary]) {
    if (unit.length === 0) continue;
    const long = repeated(unit, Math.floor(mostBytes / unit.length));
    yield long;
    yield Buffer.concat([first, long]).subarray(0, mostBytes);
    yield Buffer.concat([first.subarray(0, first.length >> 1), long]).subarray(0, mostBytes);
  }
}

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc") as () => void;

async function heldBytes(): Promise<number> {
  // What is outside of the heap is let go a moment after what held it.
  for (let times = 0; times < 2; times++) {
    collectGarbage();
    await setImmediate();
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
