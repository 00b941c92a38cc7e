import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import {
  createScriptedRegistry,
  type ScriptedAuth,
  type ScriptedRegistry,
} from "@shoal/upstream/testing";
import { describe, expect, it } from "vitest";
import { createTestDaemon, type TestDaemon } from "../support.ts";

const LOGIN = Buffer.from("me:registry-password").toString("base64");
const BASIC: ScriptedAuth = { kind: "basic", username: "me", password: "registry-password" };
/** Whoever passes requests of others on is not who asks. */
const STRANGER = { via: "1.1 somebody" };

interface Scene extends AsyncDisposable {
  readonly daemon: TestDaemon;
  readonly registry: ScriptedRegistry;
  /** Another registry, open to all. */
  readonly open: ScriptedRegistry;
  ask(path: string, headers?: Record<string, string>, method?: string): Promise<Response>;
  askOpen(path: string, headers?: Record<string, string>): Promise<Response>;
  denials(): Promise<string[]>;
}

async function scene(auth: ScriptedAuth = BASIC, secretFile?: string): Promise<Scene> {
  const registry = await createScriptedRegistry({ auth });
  const open = await createScriptedRegistry();
  const daemon = await createTestDaemon(
    {
      registries: { [registry.registry]: {}, [open.registry]: {} },
      mirror: {
        listen: ["127.0.0.1:0"],
        hosts: [],
        ...(secretFile === undefined ? {} : { secretFile }),
      },
    },
    { registry, auths: { [registry.registry]: { auth: LOGIN } } },
  );
  return {
    daemon,
    registry,
    open,
    ask: async (path, headers = {}, method = "GET") =>
      await fetch(daemon.url(path), { headers, method }),
    askOpen: async (path, headers = {}) =>
      await fetch(`${daemon.mirror}/v2/${path}?ns=${open.registry}`, { headers }),
    async denials() {
      await daemon.stop();
      const log = await readFile(join(daemon.configuration.state, "audit/audit.jsonl"), "utf8");
      return log.split("\n").filter((line) => line.includes('"reason":"private"'));
    },
    async [Symbol.asyncDispose]() {
      await daemon[Symbol.asyncDispose]();
      await open[Symbol.asyncDispose]();
    },
  };
}

describe("a repository that this machine's login opens", () => {
  it("is given to the daemon's user, and is not there for strangers", async () => {
    await using s = await scene();
    const image = s.registry.addImage("team/app", "v1", [200_000]);
    const layer = image.layers[0]!.digest;
    const paths = [
      "team/app/manifests/v1",
      `team/app/manifests/${image.digest}`,
      `team/app/blobs/${layer}`,
      "team/app/tags/list",
    ];
    for (const path of paths) expect((await s.ask(path, STRANGER)).status).toBe(404);
    const withLogin = s.registry.requests.filter(({ headers }) => headers.authorization);
    expect(withLogin).toEqual([]);
    for (const path of paths) expect((await s.ask(path)).status).toBe(200);
    for (const method of ["GET", "HEAD"])
      for (const path of paths) expect((await s.ask(path, STRANGER, method)).status).toBe(404);
    const denials = await s.denials();
    expect(denials[0]).toContain(`"what":"${s.registry.registry}/team/app"`);
  });

  it("looks to strangers as what isn't there, to the registry as well", async () => {
    await using s = await scene();
    s.registry.addImage("team/app", "v1", [1000]);
    expect((await s.ask("team/app/manifests/v1")).status).toBe(200);
    const seen = async (name: string) => {
      s.registry.requests.length = 0;
      const response = await s.ask(`${name}/manifests/v1`, STRANGER);
      const text = (await response.text()).replaceAll(name, "NAME");
      const asked = s.registry.requests.map(({ method, path }) => `${method} ${path}`);
      return { status: response.status, text, asked: asked.join().replaceAll(name, "NAME") };
    };
    const hidden = await seen("team/app");
    expect(hidden).toEqual(await seen("no/app"));
    expect(hidden.status).toBe(404);
  });

  it("stays closed when the login is gone", async () => {
    await using s = await scene();
    const image = s.registry.addImage("team/app", "v1", [1000]);
    const path = `team/app/manifests/${image.digest}`;
    expect((await s.ask(path)).status).toBe(200);
    const login = join(s.daemon.configuration.state, "../.docker/config.json");
    await writeFile(login, "{}");
    expect((await s.ask(path, STRANGER)).status).toBe(404);
    expect((await s.ask(path)).status).toBe(200);
  });

  it("is open where the registry gives it to everybody", async () => {
    await using s = await scene({ kind: "bearer" });
    s.registry.addImage("library/app", "v1", [1000]);
    expect((await s.ask("library/app/manifests/v1", STRANGER)).status).toBe(200);
    s.registry.requests.length = 0;
    for (let round = 0; round < 3; round += 1)
      expect((await s.ask("library/app/manifests/v1", STRANGER)).status).toBe(200);
    expect(s.registry.requests).toEqual([]);
  });

  it("is open where the registry gives a blob of it to everybody", async () => {
    await using s = await scene({ kind: "bearer" });
    const [layer] = s.registry.addImage("library/app", "v1", [300_000]).layers;
    const given = await s.ask(`library/app/blobs/${layer!.digest}`, STRANGER);
    expect(Buffer.from(await given.arrayBuffer()).equals(layer!.bytes)).toBe(true);
    expect((await s.ask("library/app/tags/list", STRANGER)).status).toBe(200);
  });

  it("gives nothing under the name of a repository that is open", async () => {
    await using s = await scene();
    const content = randomBytes(100_000);
    const image = s.registry.addImage("team/app", "v1", [content]);
    const layer = image.layers[0]!.digest;
    s.open.addImage("library/app", "v1", [1000]);
    for (const path of ["manifests/v1", `blobs/${layer}`])
      await (await s.ask(`team/app/${path}`)).arrayBuffer();
    for (const path of [`manifests/${image.digest}`, `blobs/${layer}`])
      for (const headers of [STRANGER, {}])
        expect([path, headers, (await s.askOpen(`library/app/${path}`, headers)).status]).toEqual([
          path,
          headers,
          404,
        ]);
    // What the open one has too is nobody's secret.
    s.open.addBlob(content);
    const given = await s.askOpen(`library/app/blobs/${layer}`, STRANGER);
    expect(Buffer.from(await given.arrayBuffer()).equals(content)).toBe(true);
    s.open.requests.length = 0;
    await (await s.askOpen(`library/app/blobs/${layer}`, STRANGER)).arrayBuffer();
    expect(s.open.requests).toEqual([]);
  });

  it("is given to who knows the secret", async () => {
    const folder = await mkdtemp(join(tmpdir(), "shoal-secret-"));
    const secretFile = join(folder, "secret");
    const secret = randomBytes(32).toString("hex");
    await writeFile(secretFile, `${secret}\n`, { mode: 0o600 });
    try {
      await using s = await scene(BASIC, secretFile);
      s.registry.addImage("team/app", "v1", [1000]);
      const ask = async (told: string) =>
        (await s.ask("team/app/manifests/v1", { ...STRANGER, "shoal-secret": told })).status;
      expect(await ask(secret)).toBe(200);
      expect(await ask(secret.slice(1))).toBe(404);
      expect(await ask(`${secret}, ${secret}`)).toBe(404);
      expect(await ask("")).toBe(404);
      const registrySaw = JSON.stringify(s.registry.requests.map(({ headers }) => headers));
      expect(registrySaw).not.toContain(secret);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it.each([["short"], ["two words of sixteen"], [""]])("refuses the secret %j", async (text) => {
    const folder = await mkdtemp(join(tmpdir(), "shoal-secret-"));
    const secretFile = join(folder, "secret");
    await writeFile(secretFile, text);
    try {
      await expect(scene(BASIC, secretFile)).rejects.toMatchObject({ code: "ERR_MIRROR_SECRET" });
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it.skipIf(process.getuid?.() !== 0)("tells this machine's users apart", async () => {
    await using s = await scene();
    s.registry.addImage("team/app", "v1", [1000]);
    const script = `fetch(process.argv[1]).then((response) => console.log(response.status))`;
    const url = s.daemon.url("team/app/manifests/v1");
    const as = async (uid: number): Promise<string> => {
      const child = await promisify(execFile)(process.execPath, ["-e", script, url], {
        uid,
        gid: uid,
      });
      return child.stdout.trim();
    };
    expect(await as(65_534)).toBe("404");
    expect(await as(0)).toBe("200");
    expect(await as(65_534)).toBe("404");
    expect((await s.denials())[0]).toContain('"who":"uid 65534"');
  });
});
