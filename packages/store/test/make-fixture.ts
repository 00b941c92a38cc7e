/**
 * Writes a sample store of this version for the tests of later ones: `make-fixture.ts VERSION`. To be run when
 * the version is raised, before what was kept of older ones is touched; a fixture is never made anew.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fillSample, openSample, pack } from "./sample-store.ts";

const [version = "1"] = process.argv.slice(2);
const folder = await mkdtemp(join(tmpdir(), "shoal-sample-"));
{
  await using store = await openSample(folder);
  await fillSample(store);
}
const file = new URL(`fixtures/store-${version}.json`, import.meta.url);
await writeFile(file, `${JSON.stringify(await pack(folder), undefined, 2)}\n`, { flag: "wx" });
await rm(folder, { recursive: true });
