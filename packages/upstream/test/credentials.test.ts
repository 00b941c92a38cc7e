import { mkdir, mkdtemp, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parseReference } from "@shoal/oci";
import { type LogFields, type Logger, silentLogger, systemClock } from "@shoal/runtime";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseAuthFile } from "../src/auth-file.ts";
import { authFilePaths, createAuthFileCredentials, createCredentialHelpers } from "../src/index.ts";

const base64 = (text: string): string => Buffer.from(text).toString("base64");
const repositoryOf = (text: string) => parseReference(text).repository;

function recordingLogger() {
  const warnings: { fields: LogFields; message: string }[] = [];
  const logger: Logger = {
    ...silentLogger,
    warn: (fields, message) => warnings.push({ fields, message }),
    child: () => logger,
  };
  return { logger, warnings };
}

async function setUp(files: Readonly<Record<string, unknown>>) {
  const home = await mkdtemp(join(tmpdir(), "shoal-auth-"));
  async function put(name: string, content: unknown): Promise<void> {
    const path = join(home, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, typeof content === "string" ? content : JSON.stringify(content));
  }
  for (const [name, content] of Object.entries(files)) await put(name, content);
  const log = recordingLogger();
  const env = {
    REGISTRY_AUTH_FILE: join(home, "explicit.json"),
    XDG_RUNTIME_DIR: join(home, "run"),
  };
  const helpers = createCredentialHelpers({ clock: systemClock, logger: log.logger }, { env });
  const credentials = createAuthFileCredentials(
    { logger: log.logger, helpers },
    { env, homeDir: home },
  );
  return {
    home,
    put,
    credentials,
    ...log,
    async [Symbol.asyncDispose]() {
      await rm(home, { recursive: true });
    },
  };
}

const login = (username: string) => ({ kind: "basic", username, password: "p:w" });
const auths = (entries: Readonly<Record<string, string>>) => ({
  auths: Object.fromEntries(
    Object.entries(entries).map(([key, username]) => [key, { auth: base64(`${username}:p:w`) }]),
  ),
});

describe("auth files", () => {
  test("are asked in order, the first with a login wins", async () => {
    await using t = await setUp({
      ".docker/config.json": auths({
        "a.example": "docker",
        "b.example": "docker",
        "c.example": "docker",
        "d.example": "docker",
      }),
      ".config/containers/auth.json": auths({
        "a.example": "config",
        "b.example": "config",
        "c.example": "config",
      }),
      "run/containers/auth.json": auths({ "a.example": "runtime", "b.example": "runtime" }),
      "explicit.json": auths({ "a.example": "explicit" }),
    });
    const found = await Promise.all(
      ["a", "b", "c", "d", "e"].map((host) =>
        t.credentials.find(repositoryOf(`${host}.example/x`)),
      ),
    );
    expect(found).toEqual([
      login("explicit"),
      login("runtime"),
      login("config"),
      login("docker"),
      undefined,
    ]);
  });

  test("lie where the variables say", () => {
    const homeDir = "/home/me";
    expect(authFilePaths({ env: {}, homeDir, uid: 7 })).toEqual([
      "/run/containers/7/auth.json",
      "/home/me/.config/containers/auth.json",
      "/home/me/.docker/config.json",
    ]);
    const env = {
      REGISTRY_AUTH_FILE: "/a",
      XDG_RUNTIME_DIR: "/r",
      XDG_CONFIG_HOME: "/c",
      DOCKER_CONFIG: "/d",
    };
    expect(authFilePaths({ env, homeDir })).toEqual([
      "/a",
      "/r/containers/auth.json",
      "/c/containers/auth.json",
      "/d/config.json",
    ]);
  });

  test("know a registry by host, URL and path, the most specific first", async () => {
    await using t = await setUp({
      ".docker/config.json": auths({
        "https://index.docker.io/v1/": "hub",
        "quay.io": "whole",
        "quay.io/team": "team",
        "quay.io/team/app": "app",
        "https://Ghcr.io/v2/": "url",
        "registry.lab:5000": "port",
      }),
    });
    const cases = {
      alpine: "hub",
      "docker.io/me/app": "hub",
      "quay.io/other/app": "whole",
      "quay.io/teams/app": "whole",
      "quay.io/team/other": "team",
      "quay.io/team/app": "app",
      "quay.io/team/app/part": "app",
      "ghcr.io/x/y": "url",
      "registry.lab:5000/x": "port",
    };
    for (const [reference, username] of Object.entries(cases))
      expect(await t.credentials.find(repositoryOf(reference)), reference).toEqual(login(username));
    expect(await t.credentials.find(repositoryOf("registry.lab/x"))).toBeUndefined();
  });

  test("are read again when they change, and may come and go", async () => {
    await using t = await setUp({});
    const repository = repositoryOf("a.example/x");
    expect(await t.credentials.find(repository)).toBeUndefined();
    await t.put(".docker/config.json", auths({ "a.example": "one" }));
    expect(await t.credentials.find(repository)).toEqual(login("one"));
    await t.put(".docker/config.json", auths({ "a.example": "two" }));
    await utimes(join(t.home, ".docker/config.json"), 1, 1);
    expect(await t.credentials.find(repository)).toEqual(login("two"));
    await rm(join(t.home, ".docker/config.json"));
    expect(await t.credentials.find(repository)).toBeUndefined();
    expect(t.warnings).toEqual([]);
  });

  test("that are broken are named once, without their content, and are not fatal", async () => {
    await using t = await setUp({
      "run/containers/auth.json": '{"auths": {"a.example": {"auth": "c2VjcmV0"',
      ".docker/config.json": auths({ "a.example": "docker" }),
    });
    for (let index = 0; index < 2; index += 1)
      expect(await t.credentials.find(repositoryOf("a.example/x"))).toEqual(login("docker"));
    expect(t.warnings.length).toBe(1);
    expect(t.warnings[0]!.fields).toMatchObject({
      code: "ERR_AUTH_FILE",
      file: join(t.home, "run/containers/auth.json"),
    });
    expect(JSON.stringify(t.warnings)).not.toContain("c2VjcmV0");
  });
});

describe("parseAuthFile", () => {
  test("reads identity tokens, plain fields, and passes over the entries of helpers", () => {
    const text = JSON.stringify({
      auths: {
        "a.example": { auth: base64("<token>:"), identitytoken: "refresh" },
        "b.example": { username: "me", password: "secret" },
        "c.example": {},
      },
      credsStore: "pass",
      credHelpers: { "https://index.docker.io/v1/": "hub", "D.example": "" },
    });
    expect(parseAuthFile(text, "config.json")).toEqual({
      entries: [
        {
          scope: "a.example",
          credential: { kind: "identity-token", username: "<token>", token: "refresh" },
        },
        { scope: "b.example", credential: { kind: "basic", username: "me", password: "secret" } },
      ],
      helpers: new Map([
        ["docker.io", "hub"],
        ["d.example", ""],
      ]),
      store: "pass",
    });
  });

  test.each([
    "",
    "[]",
    '{"auths": []}',
    '{"auths": {"a": {"auth": 5}}}',
    '{"auths": {"a": {"auth": "eA=="}}}',
  ])("refuses %s", (text) => {
    expect(() => parseAuthFile(text, "auth.json")).toThrowError(
      expect.objectContaining({
        code: "ERR_AUTH_FILE",
        message: expect.stringContaining("auth.json") as string,
      }) as Error,
    );
  });

  test("only ever throws its own error", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        try {
          parseAuthFile(text, "auth.json");
        } catch (error) {
          expect(error).toMatchObject({ code: "ERR_AUTH_FILE" });
        }
      }),
    );
  });
});
