import { appendFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { createScriptedRegistry } from "@shoal/upstream/testing";
import { describe, expect, it } from "vitest";
import { createTestDaemon } from "./support.ts";

const PASSWORD = "a-password-to-be-found";
const MINE = `Basic ${Buffer.from("someone:else's password").toString("base64")}`;

describe("secrets", () => {
  it("that a client sends the mirror go nowhere", async () => {
    const registry = await createScriptedRegistry({ auth: { kind: "bearer" } });
    const image = registry.addImage("team/app", "v1", [1000]);
    await using daemon = await createTestDaemon({}, { registry, secrets: [MINE] });
    const headers = { authorization: MINE, "proxy-authorization": MINE, cookie: `login=${MINE}` };
    for (const path of [
      "team/app/manifests/v1",
      `team/app/manifests/${image.digest}`,
      `team/app/blobs/${image.config}`,
      "team/app/tags/list",
      `team/app/referrers/${image.digest}`,
      "team/none/manifests/v1",
    ])
      await (await fetch(daemon.url(path), { headers })).arrayBuffer();
    await fetch(`${daemon.mirror}/v2/team/app/manifests/v1?ns=169.254.169.254`, { headers });
    expect(registry.requests.length).toBeGreaterThan(5);
    expect(JSON.stringify(registry.requests)).not.toContain(MINE.slice("Basic ".length));
  });

  it.each([
    ["its state folder", "store/note", PASSWORD],
    ["its audit log", "audit/audit.jsonl", `{"what":"${PASSWORD}"}\n`],
    ["its audit log, of nobody known", "audit/audit.jsonl.1", '{"authorization":"Basic eDp5"}\n'],
  ])("that are in %s fail the test that has the daemon", async (_where, path, text) => {
    const auth = { kind: "basic", username: "me", password: PASSWORD } as const;
    const daemon = await createTestDaemon({}, { registry: await createScriptedRegistry({ auth }) });
    const file = join(daemon.configuration.state, path);
    await mkdir(join(file, ".."), { recursive: true });
    await appendFile(file, text);
    await expect(daemon[Symbol.asyncDispose]()).rejects.toThrow(/secrets have got out/);
  });

  it("that are in its log fail it too", async () => {
    const daemon = await createTestDaemon({}, { secrets: ["name-that-is-logged"] });
    await fetch(daemon.url("team/name-that-is-logged/manifests/v1"));
    await expect(daemon[Symbol.asyncDispose]()).rejects.toThrow(/log: secret 0/);
  });
});
