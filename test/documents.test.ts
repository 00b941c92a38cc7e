import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { expect, it } from "vitest";

const root = resolve(import.meta.dirname, "..");
const documents = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].concat(
  readdirSync(`${root}/docs`)
    .filter((name) => name.endsWith(".md"))
    .map((name) => `docs/${name}`),
);

function read(path: string): string {
  return readFileSync(`${root}/${path}`, "utf8");
}

/** Where the links of a page lead to, within this repository. */
function linksOf(markdown: string): string[] {
  return [...markdown.matchAll(/\]\((?![a-z]+:)([^)#\s]+)/g)].map((match) => match[1]!);
}

it.each(documents)("%s links to files that are there", (path) => {
  const missing = linksOf(read(path)).filter(
    (link) => !existsSync(resolve(root, dirname(path), link)),
  );
  expect(missing).toEqual([]);
});

it("the README links to every page of docs", () => {
  const linked = linksOf(read("README.md"));
  expect(documents.filter((path) => path.startsWith("docs/") && !linked.includes(path))).toEqual(
    [],
  );
});

it("the container installs every package, and runs the daemon as npm start does", () => {
  const dockerfile = read("packages/daemon/Dockerfile");
  for (const name of readdirSync(`${root}/packages`))
    expect(dockerfile).toContain(`COPY packages/${name}/package.json packages/${name}/\n`);
  const { scripts } = JSON.parse(read("package.json")) as { scripts: { start: string } };
  const command = /^CMD (\[.*\])$/m.exec(dockerfile)?.[1] ?? "[]";
  const arena = /MALLOC_ARENA_MAX=[0-9]+/.exec(dockerfile)?.[0] ?? "";
  expect(`${arena} exec ${(JSON.parse(command) as string[]).join(" ")}`).toBe(scripts.start);
});
