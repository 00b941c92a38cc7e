import { execFile } from "node:child_process";
import { symlink } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { temporaryFolder } from "./fixtures.ts";

const LAUNCHER = new URL("../bin/shoal", import.meta.url).pathname;

test("a link on PATH runs the command with the project's own Node, with no other one there", async () => {
  await using folder = await temporaryFolder();
  await symlink(LAUNCHER, join(folder.path, "shoal"));
  const env = { PATH: `${folder.path}:/usr/bin:/bin` };
  const { stdout } = await promisify(execFile)("shoal", ["--version"], { env, cwd: "/" });
  expect(stdout).toMatch(/^[0-9]+\.[0-9]+\.[0-9]+\n$/);
});
