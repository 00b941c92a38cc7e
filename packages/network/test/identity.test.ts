import { chmod, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger } from "@shoal/runtime";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { loadIdentity } from "../src/index.ts";

describe("identity", () => {
  let directory = "";
  let machineIdFile = "";
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "shoal-identity-"));
    machineIdFile = join(directory, "machine-id");
    await writeFile(machineIdFile, "one\n");
  });
  afterEach(async () => await rm(directory, { recursive: true }));
  const load = async () =>
    await loadIdentity({ logger: silentLogger }, { directory, machineIdFile });

  it("stays the same over a restart, in a file that only its owner reads", async () => {
    const first = await load();
    expect((await load()).peerId).toBe(first.peerId);
    expect((await stat(join(directory, "identity.json"))).mode & 0o777).toBe(0o600);
  });

  it("is a new one on a cloned disk, and keeps the old key", async () => {
    const first = await load();
    await writeFile(machineIdFile, "two\n");
    expect((await load()).peerId).not.toBe(first.peerId);
    expect(await readFile(join(directory, "identity.json.other-machine"), "utf8")).toContain(
      "privateKey",
    );
  });

  it("refuses a key that other users can read, and says how to close it", async () => {
    await load();
    await chmod(join(directory, "identity.json"), 0o644);
    await expect(load()).rejects.toMatchObject({
      code: "ERR_IDENTITY",
      message: expect.stringContaining("chmod 600"),
    });
  });

  it.each(["", "{}", '{"version":1,"privateKey":"AAAA","machine":"x"}', "not json"])(
    "says what to do with a damaged file %j",
    async (text) => {
      const good = await load().then(
        async () => await readFile(join(directory, "identity.json"), "utf8"),
      );
      const { machine } = JSON.parse(good) as { machine: string };
      await writeFile(
        join(directory, "identity.json"),
        text.replace('"x"', JSON.stringify(machine)),
      );
      await chmod(join(directory, "identity.json"), 0o600);
      await expect(load()).rejects.toMatchObject({ code: "ERR_IDENTITY" });
    },
  );
});
