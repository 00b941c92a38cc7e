import { isMap, parseDocument, YAMLSeq } from "yaml";
import { brokenFile, type EnginePlan, noteOf, type PlanInput, writtenBy } from "./plan.ts";

const FILE = "/etc/rancher/k3s/registries.yaml";
const ALL = "*";

/** The mirror as first endpoint of the entry for all registries. */
export async function planK3s({ files, mirror }: PlanInput): Promise<EnginePlan> {
  const url = `http://${mirror}`;
  const before = await files.read(FILE);
  const { after, others, isRewritten } = withEndpoint(before, url);
  const bypasses = others.map((registries) => ({
    registries,
    path: FILE,
    todo: `put ${url} first in its endpoints under mirrors`,
  }));
  return {
    files: [
      { path: FILE, before, after, mark: url, byHand: `take ${url} out of mirrors, "${ALL}"` },
    ],
    bypasses,
    notes: [
      ...bypasses.map(noteOf),
      ...(isRewritten
        ? [
            `"${ALL}" has rewrite, which k3s applies to what it asks Shoal, too: Shoal then asks the registry for the name as it was rewritten, and where that has none, k3s goes on to the next endpoint.`,
          ]
        : []),
      "Each node reads its own file: run this on every node, with Shoal on it.",
    ],
    apply: "systemctl restart k3s (k3s-agent on an agent)",
  };
}

interface Mirror {
  readonly endpoint?: unknown;
  readonly rewrite?: object | null;
}

interface WithEndpoint {
  readonly after: string;
  /** Registries that do not go by the entry for all. */
  readonly others: readonly string[];
  readonly isRewritten: boolean;
}

interface Registries {
  readonly mirrors?: Readonly<Record<string, Mirror | null>>;
  readonly configs?: Readonly<Record<string, unknown>> | null;
}

/** An alias without its anchor, or too many of them, show only here. */
function valueOf(document: ReturnType<typeof parseDocument>): Registries {
  try {
    return document.toJS() as Registries;
  } catch (error) {
    throw brokenFile(FILE, (error as Error).message.split("\n")[0]!);
  }
}

function withEndpoint(text: string | undefined, url: string): WithEndpoint {
  const document = parseDocument(text ?? "", { prettyErrors: true, uniqueKeys: true });
  const [mistake] = document.errors;
  if (mistake !== undefined) throw brokenFile(FILE, mistake.message.split("\n")[0]!);
  if (document.contents !== null && !isMap(document.contents))
    throw brokenFile(FILE, "it is no map");
  if (document.contents === null)
    return {
      after: `${text === undefined ? writtenBy("k3s") : text}mirrors:\n  "${ALL}":\n    endpoint:\n      - ${url}\n`,
      others: [],
      isRewritten: false,
    };
  const mirrors = document.get("mirrors");
  if (mirrors !== undefined && mirrors !== null && !isMap(mirrors))
    throw brokenFile(FILE, "mirrors is no map");
  const value = valueOf(document);
  const known = value.mirrors ?? {};
  const endpoints = known[ALL]?.endpoint ?? [];
  if (!Array.isArray(endpoints)) throw brokenFile(FILE, `the endpoint of "${ALL}" is no list`);
  // k3s makes containerd a folder for each registry under configs, too, and containerd then looks nowhere else.
  const named = new Set([...Object.keys(known), ...Object.keys(value.configs ?? {})]);
  const others = [...named].filter(
    (name) =>
      name !== ALL &&
      !url.endsWith(`//${name}`) &&
      !JSON.stringify(known[name] ?? "").includes(url),
  );
  const isRewritten = Object.keys(known[ALL]?.rewrite ?? {}).length > 0;
  if (endpoints.includes(url)) return { after: text!, others, isRewritten };
  const path = ["mirrors", ALL, "endpoint"];
  const list = document.getIn(path);
  if (list instanceof YAMLSeq) list.items.unshift(document.createNode(url));
  else {
    // A key without a value holds null, and nothing can be set inside of that.
    if (!isMap(document.get("mirrors"))) document.set("mirrors", document.createNode({}));
    if (!isMap(document.getIn(["mirrors", ALL])))
      document.setIn(["mirrors", ALL], document.createNode({}));
    document.setIn(path, document.createNode([url]));
  }
  return { after: document.toString({ lineWidth: 0 }), others, isRewritten };
}
