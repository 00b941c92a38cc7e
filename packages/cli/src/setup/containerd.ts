import type { TomlTable } from "smol-toml";
import {
  type Bypass,
  brokenFile,
  conflictingSetting,
  type EnginePlan,
  noteOf,
  type PlanInput,
  type PlannedFile,
  unsupportedFile,
  writtenBy,
} from "./plan.ts";
import {
  asTable,
  hasValue,
  parseToml,
  setToml,
  TABLE_LINE,
  tableAt,
  textsAt,
} from "./toml-edit.ts";

const FILE = "/etc/containerd/config.toml";
const HOSTS_FOLDER = "/etc/containerd/certs.d";

/** The plugin that has `registry.config_path`, by the configuration's version. */
const PLUGINS: Readonly<Record<number, string>> = {
  2: "io.containerd.grpc.v1.cri",
  3: "io.containerd.cri.v1.images",
};

/** hosts.toml for all registries, and `config_path` that leads to it. */
export async function planContainerd(input: PlanInput): Promise<EnginePlan> {
  const { files } = input;
  const before = await files.read(FILE);
  const { after, folder, notes } = withConfigPath(before);
  const hosts = await planHosts(input, folder);
  const changed: PlannedFile[] = [hosts];
  if (after !== undefined && after !== before)
    changed.push({
      path: FILE,
      before,
      after,
      mark: HOSTS_FOLDER,
      byHand: `take out config_path = "${HOSTS_FOLDER}"; it does no harm where it is`,
    });
  const bypasses = await ownFolders(input, folder);
  return {
    files: changed,
    bypasses,
    notes: [...notes, ...bypasses.map(noteOf)],
    // hosts.toml is read for each pull.
    ...(after === before ? {} : { apply: "systemctl restart containerd" }),
  };
}

/** A registry's own folder takes the place of `_default`, whatever is in it. */
async function ownFolders({ files, mirror }: PlanInput, folder: string): Promise<Bypass[]> {
  const own: Bypass[] = [];
  for (const name of await files.list(folder)) {
    if (name === "_default") continue;
    const path = `${folder}/${name}`;
    const text = await files.read(`${path}/hosts.toml`);
    const isFolder = text !== undefined || (await files.list(path)).length > 0;
    if (!isFolder || text?.includes(`http://${mirror}`) === true) continue;
    const todo = `copy the lines of ${folder}/_default/hosts.toml to the top of the tables of its hosts.toml`;
    own.push({ registries: name, path, todo });
  }
  return own;
}

interface WithConfigPath {
  readonly after: string | undefined;
  readonly folder: string;
  readonly notes: readonly string[];
}

function withConfigPath(text: string | undefined): WithConfigPath {
  const config = parseToml(text ?? "", FILE);
  const isEmpty = Object.keys(config).length === 0;
  const disabled = textsAt(config, "disabled_plugins", FILE);
  if (disabled.some((name) => name === "cri" || name.endsWith(".cri")))
    return {
      after: text,
      folder: HOSTS_FOLDER,
      notes: [
        `${FILE} has the CRI plugin disabled, so it needs no config_path: nerdctl reads ${HOSTS_FOLDER} by itself, and ctr with --hosts-dir ${HOSTS_FOLDER}.`,
      ],
    };
  // Every containerd from 1.3 on reads version 2; 2.x migrates it as it reads.
  const version = isEmpty ? 2 : Number(config["version"] ?? 1);
  const plugin = PLUGINS[version];
  if (plugin === undefined)
    throw unsupportedFile(
      FILE,
      `it is of version ${version}, and this knows 2 and 3; write it anew with \`containerd config migrate\``,
    );
  const table = ["plugins", plugin, "registry"];
  const registry = tableAt(config, table) ?? {};
  const imports = textsAt(config, "imports", FILE);
  const notes =
    imports.length === 0
      ? []
      : [`${FILE} imports ${imports.join(", ")}: a registry table there would count before this.`];
  const configPath = registry["config_path"];
  if (typeof configPath === "string" && configPath !== "")
    return { after: text, folder: configPath.split(":")[0]!.replace(/\/$/, ""), notes };
  refuseOldTables(registry);
  const base = isEmpty ? `${writtenBy("containerd")}version = 2\n` : text!;
  const start = isEmpty && (text ?? "").trim() !== "" ? `${text!.trimEnd()}\nversion = 2\n` : base;
  return {
    after: setToml(start, FILE, { table, key: "config_path", value: HOSTS_FOLDER }),
    folder: HOSTS_FOLDER,
    notes,
  };
}

/** containerd does not start with both `config_path` and what it replaces. */
function refuseOldTables(registry: TomlTable): void {
  const mirrors = Object.keys(asTable(registry["mirrors"]) ?? {});
  const tls = Object.entries(asTable(registry["configs"]) ?? {})
    .filter(([, settings]) => asTable(settings)?.["tls"] !== undefined)
    .map(([host]) => host);
  const [what, hosts] = mirrors.length > 0 ? ["registry.mirrors", mirrors] : ["tls", tls];
  if (hosts.length > 0)
    throw conflictingSetting(
      FILE,
      `has ${what} for ${hosts.join(", ")}, and containerd does not start with these beside config_path; move them to ${HOSTS_FOLDER}/HOST/hosts.toml first`,
    );
}

async function planHosts({ files, mirror }: PlanInput, folder: string): Promise<PlannedFile> {
  const path = `${folder}/_default/hosts.toml`;
  const url = `http://${mirror}`;
  const before = await files.read(path);
  // Without the capability `referrers`, for which containerd before 2.2 rejects the whole file.
  const block = `[host."${url}"]\n  capabilities = ["pull", "resolve"]\n`;
  const byHand = `take out the table [host."${url}"]`;
  const planned = { path, before, mark: url, byHand };
  if (before === undefined) return { ...planned, after: writtenBy("containerd") + block };
  const hosts = parseToml(before, path);
  const known = hosts["host"] ?? {};
  if (asTable(known) === undefined) throw brokenFile(path, "host is no table");
  if (asTable(known)![url] !== undefined) return { ...planned, after: before };
  const after = insertTable(before, block);
  const expected = {
    ...hosts,
    host: { ...asTable(known), [url]: { capabilities: ["pull", "resolve"] } },
  };
  if (!hasValue(after, expected))
    throw unsupportedFile(path, `put this before its other hosts by hand: ${block}`);
  return { ...planned, after };
}

/** Before the first table and the comments that belong to it, since containerd asks hosts in their order. */
function insertTable(text: string, block: string): string {
  const lines = text.split("\n");
  let at = lines.findIndex((line) => TABLE_LINE.test(line));
  if (at === -1) return `${text}${text === "" || text.endsWith("\n") ? "" : "\n"}${block}`;
  while (at > 0 && lines[at - 1]!.trimStart().startsWith("#")) at -= 1;
  return [...lines.slice(0, at), block, ...lines.slice(at)].join("\n");
}
