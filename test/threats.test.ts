import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { describe, expect, it } from "vitest";

const root = resolve(import.meta.dirname, "..");
const page = readFileSync(`${root}/docs/threats.md`, "utf8");
const rows = [...page.matchAll(/^\| (?!threat|---)(.+) \|$/gm)].map((match) =>
  match[1]!.split(" | "),
);
/** "`file`: title", one after another. */
const named = rows.flatMap((cells) =>
  [...(cells.at(-1) ?? "").matchAll(/`([^`]+\.test\.ts)`: (.*?)(?=; `|$)/g)].map((match) => ({
    file: match[1]!,
    title: match[2]!,
  })),
);

describe("the page of threats", () => {
  it("names a test in each row", () => {
    expect(rows.length).toBeGreaterThan(40);
    const without = rows.filter(
      (cells) => cells.length !== 4 || !/`[^`]+\.test\.ts`: ./.test(cells[3]!),
    );
    expect(without).toEqual([]);
  });

  it.each(named)("$file has a test that $title", ({ file, title }) => {
    expect(existsSync(`${root}/${file}`)).toBe(true);
    expect(readFileSync(`${root}/${file}`, "utf8")).toContain(title);
  });

  it("names settings that there are", () => {
    const reference = readFileSync(`${root}/docs/configuration.md`, "utf8");
    const settings = rows.flatMap((cells) =>
      [...cells[2]!.matchAll(/`((?:[a-z]+\.)(?:<host>\.)?[A-Za-z]+)`/g)].map((match) => match[1]!),
    );
    expect(
      settings.filter(
        (setting) => !reference.includes(`\`${setting}\``) && !setting.endsWith("<host>"),
      ),
    ).toEqual([]);
  });
});
