import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { digestOf } from "@shoal/oci";
import { type Engine, type EngineInit, inPath, placeWith } from "./engine.ts";
import { run } from "./run.ts";

/** Skopeo, copying into a folder of plain files. */
export async function createSkopeo(init: EngineInit): Promise<Engine> {
  const { folder, registry, mirror, settings } = init;
  const place = placeWith(init.place, "containers", settings);
  let count = 0;
  return {
    name: "skopeo",
    async pull(reference) {
      const target = join(folder, `image${count++}`);
      const from =
        mirror === undefined || settings !== undefined ? registry : `${mirror}/${inPath(registry)}`;
      const trust = settings === undefined ? ["--src-tls-verify=false"] : [];
      const copy = ["skopeo", "copy", "--all", "--preserve-digests", ...trust];
      await run(place.within([...copy, `docker://${from}/${reference}`, `dir:${target}`]));
      return digestOf(await readFile(join(target, "manifest.json")));
    },
    async [Symbol.asyncDispose]() {},
  };
}

export async function createPodman(init: EngineInit): Promise<Engine> {
  const reset = ["system", "reset", "--force"];
  return await createTool("podman", ["pull", "--quiet"], reset, init);
}

export async function createBuildah(init: EngineInit): Promise<Engine> {
  return await createTool("buildah", ["pull", "--quiet"], ["rmi", "--all", "--force"], init);
}

/** What keeps its images in a storage of containers/storage. */
async function createTool(
  name: string,
  pull: readonly string[],
  clear: readonly string[],
  init: EngineInit,
): Promise<Engine> {
  const { folder, registry, mirror, settings } = init;
  const place = placeWith(init.place, "containers", settings);
  const made = join(folder, "registries.conf");
  const lines = [
    "[[registry]]",
    `location = "${registry}"`,
    "insecure = true",
    ...(mirror === undefined
      ? []
      : ["[[registry.mirror]]", `location = "${mirror}/${inPath(registry)}"`, "insecure = true"]),
  ];
  await writeFile(made, `${lines.join("\n")}\n`);
  const tool = [
    name,
    `--root=${join(folder, "root")}`,
    `--runroot=${join(folder, "run")}`,
    "--storage-driver=vfs",
  ];
  const own = settings === undefined ? { CONTAINERS_REGISTRIES_CONF: made } : {};
  const env = { ...process.env, ...own };
  return {
    name,
    async pull(reference) {
      const command = place.within([...tool, ...pull, `${registry}/${reference}`]);
      return (await run(command, { env })).trim().split("\n").at(-1)!;
    },
    async [Symbol.asyncDispose]() {
      await run([...tool, ...clear], { env }).catch(() => undefined);
    },
  };
}
