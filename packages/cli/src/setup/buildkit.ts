import type { EnginePlan, PlanInput } from "./plan.ts";
import { brokenFile, writtenBy } from "./plan.ts";
import { parseToml, setToml, tableAt, textsAt } from "./toml-edit.ts";

const FILE = "/etc/buildkit/buildkitd.toml";

/** The mirror before each registry, and that it speaks plain HTTP. */
export async function planBuildkit(input: PlanInput): Promise<EnginePlan> {
  const { files, mirror, registries } = input;
  const before = await files.read(FILE);
  let after = before ?? writtenBy("buildkit");
  for (const registry of registries) {
    const table = ["registry", registry];
    const known = tableAt(parseToml(after, FILE), table) ?? {};
    if (!textsAt(known, "mirrors", FILE).includes(mirror))
      after = setToml(after, FILE, { table, key: "mirrors", value: [mirror] });
  }
  after = withPlainHttp(after, mirror);
  const tables = registries.map((registry) => `[registry."${registry}"]`).join(", ");
  const byHand = `take "${mirror}" out of mirrors in ${tables}, and [registry."${mirror}"] away`;
  return {
    files: [{ path: FILE, before, after, mark: mirror, byHand }],
    bypasses: [],
    notes: [
      `For a builder in a container: docker buildx create --buildkitd-config ${FILE} --driver-opt network=host. The BuildKit inside of Docker goes by Docker's own settings: shoal setup docker.`,
    ],
    apply: "systemctl restart buildkit",
  };
}

function withPlainHttp(text: string, mirror: string): string {
  const known = tableAt(parseToml(text, FILE), ["registry", mirror]);
  if (known?.["http"] === true) return text;
  if (known !== undefined)
    throw brokenFile(FILE, `[registry."${mirror}"] is Shoal's mirror and has no http = true`);
  return `${text}${text.endsWith("\n") ? "" : "\n"}\n[registry."${mirror}"]\n  http = true\n`;
}
