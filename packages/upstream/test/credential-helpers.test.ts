import { access, chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseReference, parseRegistryHost, parseTag } from "@shoal/oci";
import { type Clock, noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseHelperAnswer } from "../src/helper-answer.ts";
import {
  createAuthFileCredentials,
  createCredentialHelpers,
  createUpstream,
  describeLogins,
} from "../src/index.ts";
import { createScriptedRegistry, type ScriptedAuth } from "../src/testing.ts";

const EXAMPLE = parseRegistryHost("a.example");
const LOGIN = { kind: "basic", username: "me", password: "s3cret" } as const;
const NOT_FOUND = "credentials not found in native keychain";

/** What the helper of each name does, after it has noted its question in `asked`. */
const SCRIPTS = {
  good: `echo '{"ServerURL":"x","Username":"me","Secret":"s3cret"}'`,
  waits: `until [ -e "$HELPER_FOLDER/go" ]; do sleep 0.05; done; echo '{"Username":"me","Secret":"s3cret"}'`,
  token: `echo '{"Username":"<token>","Secret":"refresh"}'`,
  none: `echo '${NOT_FOUND}'; exit 1`,
  // Its child keeps the pipes.
  hangs: `echo $$ > "$HELPER_FOLDER/hanging"; sleep 60`,
  junk: `echo 'password: s3cret'`,
  floods: `while true; do echo s3crets3crets3crets3crets3crets3crets3crets3cret; done`,
  fails: `echo 's3cret is wrong'; echo 's3cret is wrong' >&2; exit 3`,
  dies: `kill -9 $$`,
  counts: `n=$(wc -l < "$HELPER_FOLDER/asked"); echo "{\\"Username\\":\\"me\\",\\"Secret\\":\\"$n\\"}"`,
  // What it leaves behind has its output open for longer than it lives.
  forks: `sleep 5 & echo '{"Username":"me","Secret":"s3cret"}'`,
  shows: `env | sed 's/=.*//' | sort > "$HELPER_FOLDER/names"; pwd >> "$HELPER_FOLDER/names"; echo '${NOT_FOUND}'; exit 1`,
} as const;
type Name = keyof typeof SCRIPTS;

/** Real programs in a folder of PATH. */
async function setUp(
  init: { config?: unknown; allowed?: readonly string[]; clock?: Clock; timeoutMs?: number } = {},
) {
  const folder = await mkdtemp(join(tmpdir(), "shoal-helpers-"));
  await mkdir(join(folder, "bin"));
  for (const [name, script] of Object.entries(SCRIPTS)) {
    const path = join(folder, `bin/docker-credential-${name}`);
    const note = `echo "$1 $(cat)" >> "$HELPER_FOLDER/asked"`;
    await writeFile(path, `#!/bin/sh\n${note}\n${script}\n`);
    await chmod(path, 0o755);
  }
  await mkdir(join(folder, ".docker"));
  if (init.config !== undefined)
    await writeFile(join(folder, ".docker/config.json"), JSON.stringify(init.config));
  const env = {
    PATH: `relative:${join(folder, "bin")}:${process.env["PATH"]}`,
    HELPER_FOLDER: folder,
    XDG_RUNTIME_DIR: folder,
    SHOAL_TOKEN: "t0ken",
  };
  const logged: Record<string, unknown>[] = [];
  const logger = {
    ...silentLogger,
    warn: (fields: object, message: string) => logged.push({ ...fields, message }),
  };
  const { clock = systemClock, allowed = Object.keys(SCRIPTS), timeoutMs = 15_000 } = init;
  const helpers = createCredentialHelpers({ clock, logger }, { allowed, env, timeoutMs });
  const environment = { env, homeDir: folder };
  return {
    folder,
    logged,
    helpers,
    environment,
    credentials: createAuthFileCredentials({ logger, helpers }, environment),
    asked: async () =>
      (await readFile(join(folder, "asked"), "utf8").catch(() => "")).split("\n").slice(0, -1),
    async [Symbol.asyncDispose]() {
      await rm(folder, { recursive: true });
    },
  };
}

/** A clock that stands until it is moved. */
function movableClock() {
  let now = 0;
  return { ...systemClock, now: () => now, move: (ms: number) => (now += ms) };
}

describe("a credential helper", () => {
  test.each<[Name, unknown, string | undefined]>([
    ["good", LOGIN, undefined],
    ["token", { kind: "identity-token", username: "<token>", token: "refresh" }, undefined],
    ["forks", LOGIN, undefined],
    ["none", undefined, undefined],
    ["hangs", undefined, "longer than 1 s"],
    ["junk", undefined, "other than a Username and a Secret"],
    ["floods", undefined, "more than 64 KiB"],
    ["fails", undefined, "exit code 3"],
    ["dies", undefined, "SIGKILL"],
  ])("that %s", async (name, expected, failure) => {
    await using t = await setUp(name === "hangs" ? { timeoutMs: 1000 } : {});
    expect(await t.helpers.find(name, EXAMPLE)).toEqual(expected);
    expect(await t.asked()).toEqual(["get a.example"]);
    // What has been answered is not asked for again.
    expect(await t.helpers.find(name, EXAMPLE)).toEqual(expected);
    expect(await t.asked()).toHaveLength(1);
    expect(t.logged).toHaveLength(failure === undefined ? 0 : 1);
    if (failure !== undefined) {
      expect(t.logged[0]).toMatchObject({
        code: "ERR_CREDENTIAL_HELPER",
        helper: name,
        registry: "a.example",
        reason: expect.stringContaining(failure) as string,
        try: `echo a.example | docker-credential-${name} get`,
      });
      expect(t.helpers.failure(name)).toContain(failure);
      expect(JSON.stringify(t.logged)).not.toContain("s3cret");
    }
    if (name === "hangs") {
      const pid = (await readFile(join(t.folder, "hanging"), "utf8")).trim();
      await expect.poll(async () => await exists(`/proc/${pid}/cmdline`)).toBe(false);
    }
  });

  test("is asked for Docker Hub by the name that Docker gives it", async () => {
    await using t = await setUp();
    await t.helpers.find("good", parseReference("alpine").repository.registry);
    expect(await t.asked()).toEqual(["get https://index.docker.io/v1/"]);
  });

  test("that is in no folder of PATH has failed", async () => {
    await using t = await setUp({ allowed: ["missing"] });
    expect(await t.helpers.find("missing", EXAMPLE)).toBeUndefined();
    expect(t.helpers.failure("missing")).toContain("PATH");
  });

  test.each(["good", "../bin/docker-credential-good", "x/../good", "GOOD", "", "a b", "a;b"])(
    "that is not allowed, or whose name is none, is not run: %j",
    async (name) => {
      await using t = await setUp({ allowed: ["other", ...(name === "good" ? [] : [name])] });
      expect(await t.helpers.find(name, EXAMPLE)).toBeUndefined();
      expect(await t.asked()).toEqual([]);
    },
  );

  test("is given the environment without what is the daemon's own", async () => {
    await using t = await setUp();
    await t.helpers.find("shows", EXAMPLE);
    const names = (await readFile(join(t.folder, "names"), "utf8")).split("\n");
    expect(names).toEqual(expect.arrayContaining(["PATH", "HELPER_FOLDER", "/"]));
    expect(names.filter((name) => name.startsWith("SHOAL"))).toEqual([]);
  });

  test("is asked once by all who ask at once, and ended when they have all left", async () => {
    await using t = await setUp();
    const all = Array.from({ length: 20 }, async () => await t.helpers.find("waits", EXAMPLE));
    await writeFile(join(t.folder, "go"), "");
    expect(await Promise.all(all)).toEqual(all.map(() => LOGIN));
    expect(await t.asked()).toHaveLength(1);
    const controller = new AbortController();
    const left = t.helpers.find("hangs", EXAMPLE, { signal: controller.signal });
    await expect.poll(async () => await exists(join(t.folder, "hanging"))).toBe(true);
    controller.abort(new Error("left"));
    await expect(left).rejects.toThrow("left");
    expect(t.logged).toEqual([]);
  });

  test("runs at most eight times at once", async () => {
    await using t = await setUp();
    const hosts = Array.from({ length: 20 }, (_, i) => parseRegistryHost(`r${i}.example`));
    const found = hosts.map(async (host) => await t.helpers.find("waits", host));
    await expect.poll(async () => (await t.asked()).length, { timeout: 10_000 }).toBe(8);
    await writeFile(join(t.folder, "go"), "");
    expect(await Promise.all(found)).toEqual(hosts.map(() => LOGIN));
    expect(await t.asked()).toHaveLength(20);
  });

  test("is asked again after five minutes, and after a refusal", async () => {
    const clock = movableClock();
    await using t = await setUp({ clock });
    const find = async (refused?: string) => {
      const option = refused === undefined ? {} : { refused: { ...LOGIN, password: refused } };
      const found = await t.helpers.find("counts", EXAMPLE, option);
      return found?.kind === "basic" ? found.password : found;
    };
    expect(await find()).toBe("1");
    clock.move(6000);
    expect(await find()).toBe("1");
    expect(await find("1")).toBe("2");
    // The others that were refused with the old one get the new one.
    expect(await find("1")).toBe("2");
    expect(await find("2")).toBe("2");
    clock.move(299_000);
    expect(await find()).toBe("2");
    clock.move(1000);
    expect(await find()).toBe("3");
  });

  test("that had no login is asked again after a minute", async () => {
    const clock = movableClock();
    await using t = await setUp({ clock });
    for (const ms of [0, 59_000, 1000]) {
      clock.move(ms);
      expect(await t.helpers.find("none", EXAMPLE)).toBeUndefined();
    }
    expect(await t.asked()).toHaveLength(2);
  });
});

describe("an auth file that names helpers", () => {
  const auth = Buffer.from("file:old").toString("base64");

  test.each<[string, unknown, string | undefined]>([
    [
      "a host's before the store",
      { credHelpers: { "a.example": "counts" }, credsStore: "good" },
      "1",
    ],
    ["the store", { credHelpers: { "b.example": "counts" }, credsStore: "good" }, "s3cret"],
    [
      "a host's before a login",
      { credHelpers: { "https://a.example": "good" }, auths: { "a.example": { auth } } },
      "s3cret",
    ],
    ["one without a login", { credsStore: "none", auths: { "a.example": { auth } } }, "old"],
    ["one that fails", { credsStore: "fails", auths: { "a.example": { auth } } }, "old"],
    ["one that is not allowed", { credsStore: "other", auths: { "a.example": { auth } } }, "old"],
    [
      "none for a host",
      { credHelpers: { "a.example": "" }, credsStore: "good", auths: { "a.example": { auth } } },
      "old",
    ],
    ["nothing that is known", { credsStore: "none" }, undefined],
  ])("%s", async (_what, config, password) => {
    await using t = await setUp({ config });
    const found = await t.credentials.find(parseReference("a.example/x").repository);
    expect(found).toEqual(
      password === undefined ? undefined : expect.objectContaining({ password }),
    );
  });

  test("that are not allowed is told of once, with the setting", async () => {
    const config = { credsStore: "ecr-login", credHelpers: { "a.example": "../evil" } };
    await using t = await setUp({ config, allowed: ["good"] });
    for (let count = 0; count < 2; count += 1)
      await t.credentials.find(parseReference("b.example/x").repository);
    expect(t.logged).toHaveLength(2);
    expect(t.logged).toContainEqual(
      expect.objectContaining({
        helper: "ecr-login",
        setting: "upstream: { credentialHelpers: [good, ecr-login] }",
      }),
    );
    expect(JSON.stringify(t.logged)).not.toContain("evil");
  });

  test("is described, without a login", async () => {
    const config = {
      credsStore: "fails",
      credHelpers: { "a.example": "pass", "b.example": "gone" },
    };
    await using t = await setUp({ config, allowed: ["fails", "gone"] });
    await t.credentials.find(parseReference("c.example/x").repository);
    await mkdir(join(t.folder, ".config/containers/auth.json"), { recursive: true });
    await mkdir(join(t.folder, "containers"));
    await writeFile(join(t.folder, "containers/auth.json"), "{");
    expect(await describeLogins(t.helpers, t.environment)).toEqual({
      files: [
        { path: join(t.folder, "containers/auth.json"), state: "broken" },
        { path: join(t.folder, ".config/containers/auth.json"), state: "unreadable" },
        { path: join(t.folder, ".docker/config.json"), state: "read" },
      ],
      helpers: [
        {
          name: "pass",
          allowed: false,
          setting: "upstream: { credentialHelpers: [fails, gone, pass] }",
        },
        { name: "gone", allowed: true },
        {
          name: "fails",
          allowed: true,
          program: join(t.folder, "bin/docker-credential-fails"),
          failure: "it ended with exit code 3",
        },
      ],
    });
  });
});

describe("a login of a helper that has ended", () => {
  test.each<[string, ScriptedAuth, ScriptedAuth]>([
    [
      "Basic",
      { kind: "basic", username: "me", password: "1" },
      { kind: "basic", username: "me", password: "2" },
    ],
    [
      "the token server",
      { kind: "bearer", expiresInS: 0, login: { username: "me", password: "1" } },
      { kind: "bearer", expiresInS: 0, login: { username: "me", password: "2" } },
    ],
    [
      "a registry that says 403",
      { kind: "basic", username: "me", password: "1" },
      { kind: "basic", username: "me", password: "2", refusedStatus: 403 },
    ],
  ])("is asked for anew when it is refused by %s", async (_what, before, after) => {
    const clock = movableClock();
    await using t = await setUp({ config: { credsStore: "counts" }, clock });
    await using first = await createScriptedRegistry({ auth: before });
    await using second = await createScriptedRegistry({ auth: after });
    const upstreamOf = (registry: string) =>
      createUpstream(
        { clock: systemClock, logger: silentLogger, metrics: noMetrics },
        {
          userAgent: "shoal/test",
          registries: { "a.example": { endpoint: `http://${registry}` } },
          credentials: t.credentials,
        },
      );
    const repository = parseReference("a.example/team/app").repository;
    for (const registry of [first, second]) registry.addImage("team/app", "v1", []);
    await using one = upstreamOf(first.registry);
    await one.manifest(repository, parseTag("v1"));
    clock.move(6000);
    await using other = upstreamOf(second.registry);
    await other.manifest(repository, parseTag("v1"));
    expect(await t.asked()).toEqual(["get a.example", "get a.example"]);
  });
});

describe("parseHelperAnswer", () => {
  test("finds what was answered, whatever it holds", () => {
    const text = fc.string({ minLength: 1, unit: "binary" });
    const name = text.filter((one) => !one.includes(":") && one !== "<token>");
    fc.assert(
      fc.property(name, text, fc.json(), (username, secret, other) => {
        const answer = { ServerURL: other, Username: username, Secret: secret, other };
        expect(parseHelperAnswer({ exitCode: 0, stdout: JSON.stringify(answer) })).toEqual({
          kind: "login",
          credential: { kind: "basic", username, password: secret },
        });
      }),
    );
  });

  test("never throws, and never repeats what it does not understand", () => {
    const stdout = fc.oneof(fc.string(), fc.json(), fc.constant(NOT_FOUND));
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 255 }), stdout, (exitCode, text) => {
        const answer = parseHelperAnswer({ exitCode, stdout: `${text}S3CRET` });
        expect(answer.kind).not.toBe("login");
        expect(JSON.stringify(answer)).not.toContain("S3CRET");
      }),
    );
  });

  test.each([
    [1, ` ${NOT_FOUND}\n`, "none"],
    [0, NOT_FOUND, "unusable"],
    [1, "", "unusable"],
    [0, '{"Username":"","Secret":""}', "none"],
    [0, '{"Username":"a:b","Secret":"c"}', "unusable"],
    [0, '{"Username":"a"}', "unusable"],
    [0, "null", "unusable"],
    [0, "", "unusable"],
  ])("of %i and %j is %s", (exitCode, stdout, kind) => {
    expect(parseHelperAnswer({ exitCode, stdout }).kind).toBe(kind);
  });
});

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
