import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { digestOf } from "@shoal/oci";
import { type EngineInit, inPath, type OpenEngine, placeWith } from "./engine.ts";
import { run } from "./run.ts";

/** Digests of all that one of them has written into a `dir:`. */
async function digestsOf(folder: string): Promise<string[]> {
  const names = (await readdir(folder)).filter((name) => name !== "version");
  return await Promise.all(names.map(async (name) => digestOf(await readFile(join(folder, name)))));
}

/** Makes a registries.conf that has the mirror before the registry. */
async function makeRegistries({ folder, registry, mirror }: EngineInit): Promise<string> {
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
  return made;
}

/** Skopeo, copying into a folder of plain files. */
export async function createSkopeo(init: EngineInit): Promise<OpenEngine> {
  const { folder, registry, mirror, settings, own } = init;
  const place = placeWith(init.place, "containers", settings);
  const goesByFile = settings !== undefined || own !== undefined;
  const file = own === undefined ? [] : [`--registries-conf=${await makeRegistries(init)}`];
  const targets = new Map<string, string>();
  let count = 0;
  return {
    name: "skopeo",
    async pull(reference, options) {
      const target = join(folder, `image${count++}`);
      targets.set(reference, target);
      const from = mirror === undefined || goesByFile ? registry : `${mirror}/${inPath(registry)}`;
      const trust = settings === undefined ? ["--src-tls-verify=false"] : [];
      const copy = ["skopeo", ...file, "copy", "--all", "--preserve-digests", ...trust];
      await run(place.within([...copy, `docker://${from}/${reference}`, `dir:${target}`]), options);
      return digestOf(await readFile(join(target, "manifest.json")));
    },
    contents: async (reference) => await digestsOf(targets.get(reference)!),
    async [Symbol.asyncDispose]() {},
  };
}

export async function createPodman(init: EngineInit): Promise<OpenEngine> {
  const clear = ["system", "reset", "--force"];
  return await createTool("podman", { push: ["push", "--quiet"], clear }, init);
}

export async function createBuildah(init: EngineInit): Promise<OpenEngine> {
  // It alone would compress the layers.
  const push = ["push", "--quiet", "--disable-compression"];
  return await createTool("buildah", { push, clear: ["rmi", "--all", "--force"] }, init);
}

/** What keeps its images in a storage of containers/storage. */
async function createTool(
  name: string,
  commands: { readonly push: readonly string[]; readonly clear: readonly string[] },
  init: EngineInit,
): Promise<OpenEngine> {
  const { folder, registry, settings } = init;
  const place = placeWith(init.place, "containers", settings);
  const made = await makeRegistries(init);
  const tool = [
    name,
    `--root=${join(folder, "root")}`,
    `--runroot=${join(folder, "run")}`,
    "--storage-driver=vfs",
  ];
  const own = settings === undefined ? { CONTAINERS_REGISTRIES_CONF: made } : {};
  const env = { ...process.env, ...own };
  let exported = 0;
  return {
    name,
    async pull(reference, options) {
      const command = place.within([...tool, "pull", "--quiet", `${registry}/${reference}`]);
      return (await run(command, { env, ...options })).trim().split("\n").at(-1)!;
    },
    async contents(reference) {
      const target = join(folder, `export${exported++}`);
      await run([...tool, ...commands.push, `${registry}/${reference}`, `dir:${target}`], { env });
      return await digestsOf(target);
    },
    async [Symbol.asyncDispose]() {
      await run([...tool, ...commands.clear], { env }).catch(() => undefined);
    },
  };
}
