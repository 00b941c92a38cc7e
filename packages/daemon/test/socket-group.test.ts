import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger } from "@shoal/runtime";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { startApiServer } from "../src/api/server.ts";
import { groupIdOf } from "../src/api/socket-group.ts";

const INIT = {
  routes: [],
  events: { on: () => ({ [Symbol.dispose]() {} }), pull: () => undefined },
  logger: silentLogger,
};

describe("the socket's group", () => {
  let folder = "";
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "shoal-group-"));
  });
  afterEach(async () => await rm(folder, { recursive: true, force: true }));

  it("is found by its name alone", async () => {
    const file = join(folder, "group");
    await writeFile(file, "root:x:0:\nnoshoal:x:7:shoal\nbroken\nshoal:x:988:anna,ben\n");
    expect(await groupIdOf("shoal", file)).toBe(988);
    expect(await groupIdOf("anna", file)).toBeUndefined();
    expect(await groupIdOf("shoal", join(folder, "none"))).toBeUndefined();
  });

  it.skipIf(process.getuid?.() !== 0)("is given to the socket, for all its members", async () => {
    const socketPath = join(folder, "shoal.sock");
    await using _server = await startApiServer({
      ...INIT,
      socketPath,
      groupId: 54_321,
    });
    expect(await stat(socketPath)).toMatchObject({ uid: 0, gid: 54_321 });
    expect((await stat(socketPath)).mode & 0o777).toBe(0o660);
  });

  it("is none without that group: the process's own may be that of all users", async () => {
    const socketPath = join(folder, "shoal.sock");
    await using _server = await startApiServer({ ...INIT, socketPath });
    expect((await stat(socketPath)).mode & 0o777).toBe(0o600);
  });
});
