import { open, rm, stat, truncate } from "node:fs/promises";
import { join } from "node:path";
import { createSite, MIB, wrongBlobs } from "../interop/site.ts";
import { type Content, createImage } from "../lab/images.ts";
import { until } from "../lab/processes.ts";
import { type ChaosPart, createChecks, createDice, type Dice } from "./part.ts";
import { ended, verified } from "./waiting.ts";

const LONG_ROUNDS = 100;
const SHORT_ROUNDS = 4;
const IMAGES = 4;
const FAULTS = ["a bit", "ten bits", "a page of zeros", "cut short", "removed"] as const;

/** The disk of a running daemon gives back other bytes than it was given; each such blob is found and replaced. */
export const rotPart: ChaosPart = async ({ seed, long, rounds, tell }) => {
  const dice = createDice(seed);
  const checks = createChecks(tell);
  const count = rounds ?? (long ? LONG_ROUNDS : SHORT_ROUNDS);
  await using site = await createSite({ machines: 1 });
  const daemon = await site.daemon(site.lan.machines[0]!);
  const blobs: Content[] = [];
  for (let index = 0; index < IMAGES; index++) {
    const image = createImage([2048, 300_000, 2 * MIB, 5 * MIB]);
    await site.push(`app${index}`, "v1", image);
    const reference = `${site.registry.host}/app${index}:v1`;
    const { id } = await daemon.api.startPull({ reference });
    const { state } = await ended(daemon, id, reference);
    checks.expect(state === "done", `the pull of ${reference} is ${state}`);
    blobs.push(image.manifest, ...image.blobs);
  }
  const folder = join(daemon.state, "store/blobs/sha256");
  const hexOf = ({ descriptor }: Content): string => descriptor.digest.slice("sha256:".length);
  const times = new Map<string, number>();
  let found = 0;

  for (let round = 0; round < count; round++) {
    const spoilt = dice.some(1 + dice.below(5), blobs);
    for (const blob of spoilt) {
      const fault = FAULTS[dice.below(FAULTS.length)]!;
      await spoil(join(folder, hexOf(blob)), fault, dice);
      times.set(fault, (times.get(fault) ?? 0) + 1);
    }
    const { findings, error } = await verified(daemon);
    checks.expect(error === undefined, `round ${round}: the verification ended by ${error?.code}`);
    const told = new Set(findings.map(({ digest }) => digest));
    found += told.size;
    for (const { descriptor } of spoilt)
      checks.expect(told.has(descriptor.digest), `round ${round}: ${descriptor.digest} not found`);
    checks.expect(told.size === spoilt.length, `round ${round}: ${told.size} found in all`);
    await until("what rotted is fetched again", async () => {
      const all = blobs.map(async (blob) => await stat(join(folder, hexOf(blob))));
      return await Promise.all(all).then(
        () => true,
        () => false,
      );
    }).catch((reason: unknown) => checks.expect(false, `round ${round}: ${String(reason)}`));
    const wrong = await wrongBlobs(daemon);
    checks.expect(wrong.length === 0, `round ${round}: wrong blobs ${wrong.join(", ")}`);
    tell(`${round + 1}/${count}: ${spoilt.length} spoilt, ${told.size} found and fetched again`);
  }
  return {
    figures: {
      rounds: count,
      ...Object.fromEntries([...times].map(([fault, number]) => [`blobs with ${fault}`, number])),
      "found, put aside, fetched again": found,
    },
    failures: checks.failures,
  };
};

/** What a disk does to a file without telling. */
async function spoil(path: string, fault: (typeof FAULTS)[number], dice: Dice): Promise<void> {
  const { size } = await stat(path);
  if (fault === "removed") return await rm(path);
  if (fault === "cut short") return await truncate(path, dice.below(size));
  const file = await open(path, "r+");
  try {
    if (fault === "a page of zeros") {
      // A layer's first page has zeros of its own, and the rest is random.
      await file.write(Buffer.alloc(Math.min(size, 4096)), 0, undefined, size > 8192 ? 4096 : 0);
      return;
    }
    for (let bit = 0; bit < (fault === "a bit" ? 1 : 10); bit++) {
      const at = dice.below(size);
      const { buffer } = await file.read(Buffer.alloc(1), 0, 1, at);
      buffer[0]! ^= 1 << dice.below(8);
      await file.write(buffer, 0, 1, at);
    }
  } finally {
    await file.close();
  }
}
