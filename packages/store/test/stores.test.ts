import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import { afterAll, beforeAll } from "vitest";
import { createMemoryStore, openFileStore } from "../src/index.ts";
import { storeConformance } from "../src/testing.ts";

let folder = "";
let count = 0;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "shoal-stores-"));
});
afterAll(async () => await rm(folder, { recursive: true, force: true }));

storeConformance("the store in memory", async () => createMemoryStore());
storeConformance(
  "the store on disk",
  async () =>
    await openFileStore(
      { clock: systemClock, logger: silentLogger, metrics: noMetrics },
      { directory: join(folder, `store${count++}`) },
    ),
);
