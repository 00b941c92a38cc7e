import { stringify, type TomlTable } from "smol-toml";
import {
  brokenFile,
  conflictingSetting,
  type EnginePlan,
  type FileReader,
  type PlanInput,
  writtenBy,
} from "./plan.ts";
import { asTable, parseToml } from "./toml-edit.ts";

const MAIN = "/etc/containers/registries.conf";
const FOLDER = "/etc/containers/registries.conf.d";
const OWN = "shoal.conf";
const FILE = `${FOLDER}/${OWN}`;

/** A `[[registry]]` and the file that it stands in. */
interface Known {
  readonly path: string;
  readonly entry: TomlTable;
}

/**
 * A drop-in with a `[[registry]]` for each registry. The last file that has a registry's prefix
 * counts, as a whole: what others say of it is taken along.
 */
export async function planContainers(
  input: PlanInput,
  engine: "podman" | "crio",
): Promise<EnginePlan> {
  const { files, mirror, registries } = input;
  const known = await readRegistries(files);
  const before = await files.read(FILE);
  const missing: TomlTable[] = [];
  for (const registry of registries) {
    const found = known.get(registry);
    const mirrors = mirrorsOf(found);
    if (mirrors.some((one) => locationOf(one)?.startsWith(`${mirror}/`))) continue;
    if (found !== undefined && found.path >= FILE && found.path !== MAIN)
      throw conflictingSetting(
        found.path,
        `has a [[registry]] for ${registry} that would count before Shoal's; add a [[registry.mirror]] with location = "${mirror}/${inPath(registry)}" and insecure = true to it`,
      );
    const location = locationOf(found?.entry) ?? registry;
    const first = { location: `${mirror}/${inPath(location)}`, insecure: true };
    const others = { ...found?.entry, prefix: registry, location };
    missing.push({ ...others, mirror: [first, ...mirrors] });
  }
  const blocks = stringify({ registry: missing });
  const text = before ?? writtenBy(engine);
  const gap = text === "" || text.endsWith("\n") ? "\n" : "\n\n";
  const after = missing.length === 0 ? text : `${text}${gap}${blocks.trim()}\n`;
  parseToml(after, FILE);
  const narrower = [...known].filter(([prefix, one]) => {
    const isNarrower = registries.some((registry) => prefix.startsWith(`${registry}/`));
    return isNarrower && !JSON.stringify(mirrorsOf(one)).includes(`${mirror}/`);
  });
  return {
    files: [
      {
        path: FILE,
        before,
        after,
        mark: `${mirror}/`,
        byHand: `take out every [[registry.mirror]] whose location begins with ${mirror}/`,
      },
    ],
    notes: [
      `Podman, Buildah, Skopeo and CRI-O all read ${FILE}. For registries besides ${registries.join(", ")}, run this with --registry HOST.`,
      ...narrower.map(
        ([prefix, { path }]) =>
          `${prefix} has an entry of its own in ${path} and goes by that, not through Shoal.`,
      ),
    ],
    ...(engine === "crio" ? { apply: "systemctl reload crio" } : {}),
  };
}

/** The grammar of names has no colon. */
function inPath(location: string): string {
  return location.replace(":", "_");
}

function locationOf(table: TomlTable | undefined): string | undefined {
  const location = table?.["location"];
  return typeof location === "string" ? location : undefined;
}

function mirrorsOf(known: Known | undefined): readonly TomlTable[] {
  const mirrors = known?.entry["mirror"];
  if (!Array.isArray(mirrors)) return [];
  return mirrors.map((one) => asTable(one)).filter((one) => one !== undefined);
}

/** By prefix, as containers-registries.conf.d(5) merges them. */
async function readRegistries(files: FileReader): Promise<ReadonlyMap<string, Known>> {
  const dropIns = (await files.list(FOLDER)).filter((name) => name.endsWith(".conf"));
  const known = new Map<string, Known>();
  for (const path of [MAIN, ...dropIns.map((name) => `${FOLDER}/${name}`)]) {
    const text = await files.read(path);
    if (text === undefined) continue;
    const entries = parseToml(text, path)["registry"] ?? [];
    if (!Array.isArray(entries)) throw brokenFile(path, "registry is no list of tables");
    for (const one of entries) {
      const entry = asTable(one) ?? {};
      const prefix = entry["prefix"] || entry["location"];
      if (typeof prefix === "string") known.set(prefix, { path, entry });
    }
  }
  return known;
}
