import { stringify, type TomlTable } from "smol-toml";
import {
  type Bypass,
  brokenFile,
  commandOf,
  conflictingSetting,
  type EngineName,
  type EnginePlan,
  type FileReader,
  noteOf,
  type PlanInput,
  writtenBy,
} from "./plan.ts";
import { asTable, parseToml } from "./toml-edit.ts";

const SYSTEM = "/etc/containers";
const MAIN = "registries.conf";
const DROP_INS = "registries.conf.d";
const OWN = "shoal.conf";

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
  const { files, mirror, registries, home } = input;
  const known = await readRegistries(files, home);
  const folder = `${home === undefined ? SYSTEM : userFolder(home)}/${DROP_INS}`;
  const file = `${folder}/${OWN}`;
  const before = await files.read(file);
  const missing: TomlTable[] = [];
  for (const registry of registries) {
    const found = known.get(registry);
    const mirrors = mirrorsOf(found);
    if (mirrors.some((one) => locationOf(one)?.startsWith(`${mirror}/`))) continue;
    if (found !== undefined && found.path.startsWith(`${folder}/`) && found.path >= file)
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
  const text = before ?? writtenBy(engine, home);
  const gap = text === "" || text.endsWith("\n") ? "\n" : "\n\n";
  const after = missing.length === 0 ? text : `${text}${gap}${blocks.trim()}\n`;
  parseToml(after, file);
  const bypasses = bypassesOf(input, engine, known);
  const readers =
    home === undefined
      ? `Podman, Buildah, Skopeo and CRI-O all read ${file}, but for a user who has a ${userFolder("~")}/${MAIN}: that user runs \`shoal setup podman --user\` besides.`
      : `Podman, Buildah and Skopeo of this user read ${file}.`;
  return {
    files:
      // What the machine's files say may be enough for a user.
      missing.length === 0 && before === undefined
        ? []
        : [
            {
              path: file,
              before,
              after,
              mark: `${mirror}/`,
              byHand: `take out every [[registry.mirror]] whose location begins with ${mirror}/`,
            },
          ],
    bypasses,
    notes: [
      `${readers} For registries besides ${registries.join(", ")}, run this with --registry HOST.`,
      ...bypasses.map(noteOf),
    ],
    ...(engine === "crio" ? { apply: "systemctl reload crio" } : {}),
  };
}

function bypassesOf(
  { mirror, registries, home }: PlanInput,
  engine: EngineName,
  known: ReadonlyMap<string, Known>,
): readonly Bypass[] {
  const direct = [...known].filter(
    ([prefix, one]) =>
      !registries.includes(prefix) &&
      one.entry["blocked"] !== true &&
      !mirrorsOf(one).some((each) => locationOf(each)?.startsWith(`${mirror}/`)),
  );
  return direct.map(([prefix, { path }]) => ({
    registries: prefix,
    path,
    todo: /[/*]/.test(prefix)
      ? `add a [[registry.mirror]] with location = "${mirror}/…" and insecure = true to it`
      : `run \`${commandOf(engine, home)} --registry ${prefix}\``,
  }));
}

/** Of the home folder alone: containers/image goes by no XDG_CONFIG_HOME here. */
function userFolder(home: string): string {
  return `${home}/.config/containers`;
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
async function readRegistries(
  files: FileReader,
  home: string | undefined,
): Promise<ReadonlyMap<string, Known>> {
  const known = new Map<string, Known>();
  for (const path of await pathsOf(files, home)) {
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

/** In the order in which they are read; a user's own file takes the place of all of the machine's. */
async function pathsOf(files: FileReader, home: string | undefined): Promise<readonly string[]> {
  const within = async (folder: string): Promise<readonly string[]> => {
    const names = await files.list(`${folder}/${DROP_INS}`);
    const dropIns = names.filter((name) => name.endsWith(".conf"));
    return [`${folder}/${MAIN}`, ...dropIns.map((name) => `${folder}/${DROP_INS}/${name}`)];
  };
  if (home === undefined) return await within(SYSTEM);
  const own = await within(userFolder(home));
  const hasOwn = (await files.read(`${userFolder(home)}/${MAIN}`)) !== undefined;
  return hasOwn ? own : [...(await within(SYSTEM)), ...own];
}
