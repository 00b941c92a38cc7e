import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createApiClient } from "@shoal/api";
import { createScriptedRegistry, type ScriptedAuth } from "@shoal/upstream/testing";
import { describe, expect, it } from "vitest";
import { createTestDaemon } from "./support.ts";

const SECRET = "h3lper-secret";

async function setUp(auth: ScriptedAuth, script: string, allowed: readonly string[] = ["lab"]) {
  const bin = await mkdtemp(join(tmpdir(), "shoal-helper-"));
  const program = join(bin, "docker-credential-lab");
  await writeFile(program, `#!/bin/sh\necho "$1 $(cat)" >> ${bin}/asked\n${script}\n`);
  await chmod(program, 0o755);
  const registry = await createScriptedRegistry({ auth });
  const daemon = await createTestDaemon(
    { upstream: { allowPrivate: false, credentialHelpers: [...allowed] } },
    {
      registry,
      secrets: [SECRET],
      dockerConfiguration: { credHelpers: { [registry.registry]: "lab" } },
      env: { PATH: `${bin}:${process.env["PATH"]}` },
    },
  );
  return {
    registry,
    image: registry.addImage("team/app", "v1", [300_000]),
    logged: daemon.log,
    status: async () => {
      await using api = createApiClient({ socketPath: daemon.socket });
      return await api.status();
    },
    get: async (path: string) => await fetch(daemon.url(`team/app/${path}`)),
    asked: async () => await readFile(join(bin, "asked"), "utf8").catch(() => ""),
    async [Symbol.asyncDispose]() {
      await daemon[Symbol.asyncDispose]();
      await rm(bin, { recursive: true });
    },
  };
}

describe("a registry whose login a credential helper has", () => {
  const answer = (username: string): string =>
    `echo '{"Username":"${username}","Secret":"${SECRET}"}'`;

  it.each<[string, ScriptedAuth, string]>([
    ["by Basic", { kind: "basic", username: "AWS", password: SECRET }, "AWS"],
    ["by a token server", { kind: "bearer", login: { username: "me", password: SECRET } }, "me"],
    ["by an identity token", { kind: "bearer", identityToken: SECRET }, "<token>"],
  ])("is pulled from %s", async (_what, auth, username) => {
    await using t = await setUp(auth, answer(username));
    expect((await t.get("manifests/v1")).status).toBe(200);
    const [layer] = t.image.layers;
    const blob = await t.get(`blobs/${layer!.digest}`);
    expect(Buffer.from(await blob.arrayBuffer()).equals(layer!.bytes)).toBe(true);
    expect(await t.asked()).toBe(`get ${t.registry.registry}\n`);
    expect(t.logged()).not.toContain(SECRET);
    const { logins, store, bulkPort } = await t.status();
    expect(logins?.helpers).toEqual([
      {
        name: "lab",
        allowed: true,
        program: expect.stringMatching(/docker-credential-lab$/) as string,
      },
    ]);
    expect(logins?.files.map(({ state }) => state)).toEqual(["missing", "missing", "read"]);
    expect([store.minFreeBytes, bulkPort]).toEqual([0, undefined]);
    expect(JSON.stringify(logins)).not.toContain(SECRET);
  });

  it.each([
    ["is not allowed", answer("AWS"), [], "upstream: { credentialHelpers: [lab] }"],
    ["fails", `echo ${SECRET}; echo ${SECRET} >&2; exit 1`, ["lab"], "exit code 1"],
    ["answers junk", `echo ${SECRET}`, ["lab"], "something other"],
  ])(
    "is asked as nobody when it %s, and the log says why",
    async (_what, script, allowed, told) => {
      const auth = { kind: "basic", username: "AWS", password: SECRET } as const;
      await using t = await setUp(auth, script, allowed);
      expect((await t.get("manifests/v1")).status).toBe(404);
      expect(t.logged()).toContain("ERR_CREDENTIAL_HELPER");
      expect(t.logged()).toContain(told);
      expect(t.logged()).not.toContain(SECRET);
    },
  );
});
