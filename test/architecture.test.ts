import { readdirSync, readFileSync } from "node:fs";
import { dirname, relative, resolve, sep } from "node:path";
import { describe, expect, it } from "vitest";

/** Where an import stands: its file, relative to the root, and the module that it names. */
interface Import {
  readonly file: string;
  readonly specifier: string;
}

const root = resolve(import.meta.dirname, "..");
const LIBP2P = /^(?:libp2p|@libp2p\/.+|@chainsafe\/.+|@multiformats\/.+)$/;
const IMPORT =
  /(?:\bfrom|\bimport)\s*\(?\s*(["'])([^"'\n]+)\1|\bimport\.meta\.resolve\(\s*(["'])([^"'\n]+)\3/g;

/** Package by package, what the table of docs/architecture.md allows. */
function allowedArrows(markdown: string): Map<string, ReadonlySet<string>> {
  const section = /^## Packages$(.*?)^## /ms.exec(markdown)?.[1] ?? "";
  const rows = section.matchAll(/^\| `([a-z-]+)` \|.*\|([^|]*)\|$/gm);
  return new Map(
    [...rows].map(([, name, last]) => [
      name!,
      new Set([...last!.matchAll(/`([a-z-]+)`/g)].map((match) => match[1]!)),
    ]),
  );
}

function importsOf(file: string, source: string): Import[] {
  const code = source.replaceAll(/^[ \t]*(?:\/\*[^]*?\*\/|\/\/[^\n]*)/gm, "");
  return [...code.matchAll(IMPORT)].map((match) => ({ file, specifier: (match[2] ?? match[4])! }));
}

/** What is wrong with an import, or `undefined`. */
function fault({ file, specifier }: Import, arrows: typeof allowed): string | undefined {
  const [, from = "", folder = ""] = file.split("/");
  if (specifier.startsWith(".")) {
    const target = relative(`packages/${from}`, `${dirname(file)}/${specifier}`);
    return target.split(sep)[0] === ".." ? "leaves its package; import it by its name" : undefined;
  }
  if (LIBP2P.test(specifier) && from !== "network")
    return "only network may import libp2p; go through PeerTransport";
  const named = /^@shoal\/([^/]+)(?:\/(.*))?$/.exec(specifier);
  if (named === null) return undefined;
  const [, to = "", entry] = named;
  if (entry !== undefined && entry !== "testing") return "is a deep import; export it from index";
  if (entry === "testing" && folder === "src" && !file.endsWith("/src/testing.ts"))
    return "takes what is for tests into production";
  if (to === from || arrows.get(from)?.has(to) === true) return undefined;
  return `is not in the table of docs/architecture.md: ${from} may import ${[...(arrows.get(from) ?? [])].join(", ") || "nothing"}`;
}

const allowed = allowedArrows(readFileSync(`${root}/docs/architecture.md`, "utf8"));
const packages = readdirSync(`${root}/packages`);
const imports = packages.flatMap((name) =>
  ["src", "test"].flatMap((folder) =>
    sources(`packages/${name}/${folder}`).flatMap((file) =>
      importsOf(file, readFileSync(`${root}/${file}`, "utf8")),
    ),
  ),
);

function sources(folder: string): string[] {
  try {
    return readdirSync(`${root}/${folder}`, { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".ts"))
      .map((file) => `${folder}/${file.replaceAll(sep, "/")}`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}

describe("the arrows between packages", () => {
  it("are written down for every package", () => {
    expect(packages.filter((name) => !allowed.has(name))).toEqual([]);
  });

  it("go one way", () => {
    const reach = (from: string, seen: readonly string[]): void => {
      if (seen.includes(from)) throw new Error(`a circle: ${[...seen, from].join(" → ")}`);
      for (const to of allowed.get(from) ?? []) reach(to, [...seen, from]);
    };
    for (const name of allowed.keys()) reach(name, []);
  });

  it("are the only ones that the sources follow", () => {
    expect(imports.length).toBeGreaterThan(0);
    const faults = imports.flatMap((one) => {
      const found = fault(one, allowed);
      return found === undefined ? [] : [`${one.file}: ${one.specifier} ${found}`];
    });
    expect(faults).toEqual([]);
  });

  it("are declared as dependencies, and no more than these", () => {
    const faults = packages.flatMap((name) => {
      const manifest = JSON.parse(
        readFileSync(`${root}/packages/${name}/package.json`, "utf8"),
      ) as Record<string, Record<string, string> | undefined>;
      return Object.keys({ ...manifest["dependencies"], ...manifest["devDependencies"] })
        .map((specifier) => fault({ file: `packages/${name}/package.json`, specifier }, allowed))
        .filter((found) => found !== undefined)
        .map((found) => `${name}: ${found}`);
    });
    expect(faults).toEqual([]);
  });
});

describe("the check itself", () => {
  it.each([
    ["packages/oci/src/a.ts", `import { x } from "@shoal/store";`],
    ["packages/store/src/a.ts", `export * from "@shoal/oci/src/digest.ts";`],
    ["packages/store/src/a.ts", `const x = await import("../../oci/src/digest.ts");`],
    ["packages/store/src/a.ts", `import "@shoal/oci/testing";`],
    ["packages/swarm/src/a.ts", `import type {\n  PeerId,\n} from "@libp2p/interface";`],
    ["packages/cli/src/a.ts", `import { x } from "@shoal/daemon";`],
    [
      "packages/cli/src/a.ts",
      `// first\nconst all = "*/*";\nimport { x } from "@shoal/oci"; /* end */`,
    ],
  ])("refuses in %s: %s", (file, source) => {
    expect(importsOf(file, source).map((one) => fault(one, allowed))).toEqual([expect.any(String)]);
  });

  it.each([
    ["packages/store/src/a/b.ts", `import { x } from "../types.ts";`],
    ["packages/store/test/a.ts", `import { x } from "@shoal/oci/testing";`],
    ["packages/network/src/a.ts", `import { x } from "libp2p";`],
    ["packages/oci/src/a.ts", `/** import { x } from "@shoal/store" */`],
  ])("takes in %s: %s", (file, source) => {
    expect(importsOf(file, source).flatMap((one) => fault(one, allowed) ?? [])).toEqual([]);
  });
});
