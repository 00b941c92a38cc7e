import { findNodeAtLocation, type Node, parseTree } from "jsonc-parser";
import { isDeepStrictEqual } from "node:util";
import {
  brokenFile,
  conflictingSetting,
  type EnginePlan,
  type PlanInput,
  unsupportedFile,
} from "./plan.ts";

const FILE = "/etc/docker/daemon.json";
const KEY = "registry-mirrors";

/** Where dockerd's flags are written; a mirror there and in daemon.json keeps it from starting. */
const FLAG_FILES = [
  "/etc/default/docker",
  "/etc/sysconfig/docker",
  "/etc/systemd/system/docker.service",
  "/usr/lib/systemd/system/docker.service",
  "/lib/systemd/system/docker.service",
];
const FLAG_FOLDER = "/etc/systemd/system/docker.service.d";

/** `registry-mirrors` of daemon.json, beside what is there. */
export async function planDocker({ files, mirror }: PlanInput): Promise<EnginePlan> {
  const url = `http://${mirror}`;
  const before = await files.read(FILE);
  const after = flatEnough(() => withMirror(before ?? "", url));
  if (after !== before) {
    const units = (await files.list(FLAG_FOLDER)).filter((name) => name.endsWith(".conf"));
    for (const path of [...FLAG_FILES, ...units.map((name) => `${FLAG_FOLDER}/${name}`)]) {
      const flags = (await files.read(path)) ?? "";
      if (/^(?!\s*[#;]).*--registry-mirror\b/m.test(flags))
        throw conflictingSetting(
          path,
          `starts Docker with --registry-mirror, and with ${KEY} in ${FILE} as well it would not start; move the flag's mirrors to ${KEY} first`,
        );
    }
  }
  return {
    files: [{ path: FILE, before, after, mark: url, byHand: `take "${url}" out of ${KEY}` }],
    bypasses: [],
    notes: ["Docker asks mirrors for Docker Hub's images only; that is Docker's limit."],
    apply: "systemctl reload docker",
  };
}

function withMirror(text: string, url: string): string {
  if (text.trim() === "") return `{\n  "${KEY}": ["${url}"]\n}\n`;
  const settings = parseSettings(text);
  const mirrors = settings[KEY] ?? [];
  if (!Array.isArray(mirrors)) throw brokenFile(FILE, `${KEY} is no list`);
  if (mirrors.some((one) => typeof one === "string" && one.replace(/\/$/, "") === url)) return text;
  const edited = insert(text, url);
  const expected = { ...settings, [KEY]: [url, ...(mirrors as unknown[])] };
  if (!isDeepStrictEqual(parseSettings(edited), expected))
    throw unsupportedFile(FILE, `add "${url}" to ${KEY} by hand`);
  return edited;
}

/** What reads settings goes down into each of them by a call. */
function flatEnough(edit: () => string): string {
  try {
    return edit();
  } catch (error) {
    if (error instanceof RangeError) throw brokenFile(FILE, "it is nested too deeply");
    throw error;
  }
}

/** As little text as does it: what the user has written keeps its shape. */
function insert(text: string, url: string): string {
  const root = parseTree(text)!;
  const written = JSON.stringify(url);
  const list = findNodeAtLocation(root, [KEY]);
  const firstMirror = list?.children?.[0];
  if (firstMirror !== undefined) return splice(text, firstMirror.offset, 0, `${written}, `);
  if (list !== undefined) return splice(text, list.offset, list.length, `[${written}]`);
  const setting = `"${KEY}": [${written}]`;
  const properties: readonly Node[] = root.children ?? [];
  const last = properties.at(-1);
  if (last === undefined) return splice(text, root.offset, root.length, `{\n  ${setting}\n}`);
  // A line of its own where the first setting has one, indented as that is.
  const gap = text.slice(root.offset + 1, properties[0]!.offset);
  return splice(text, last.offset + last.length, 0, `,${gap}${setting}`);
}

function splice(text: string, offset: number, length: number, insertion: string): string {
  return text.slice(0, offset) + insertion + text.slice(offset + length);
}

function parseSettings(text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw brokenFile(FILE, (error as SyntaxError).message);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw brokenFile(FILE, "it is no JSON object");
  return value as Record<string, unknown>;
}
