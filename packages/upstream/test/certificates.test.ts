import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseRegistryHost, parseRepositoryName, parseTag } from "@shoal/oci";
import { noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import { afterAll, describe, expect, test } from "vitest";
import { certificateFolders, createUpstream, type RegistrySettings } from "../src/index.ts";
import {
  createScriptedRegistry,
  createTestCertificates,
  type ScriptedRegistry,
} from "../src/testing.ts";

const ours = createTestCertificates();
const foreign = createTestCertificates();
afterAll(() => {
  ours[Symbol.dispose]();
  foreign[Symbol.dispose]();
});
const TAG = parseTag("v1");
const CLIENT = {
  clientCertFile: join(ours.folder, "leaf.pem"),
  clientKeyFile: join(ours.folder, "leaf.key"),
};
const FOREIGN_CLIENT = {
  clientCertFile: join(foreign.folder, "leaf.pem"),
  clientKeyFile: join(foreign.folder, "leaf.key"),
};

/** A registry that answers those alone who show a certificate of its authority. */
async function setUp() {
  const registry = await createScriptedRegistry({
    tls: { key: ours.key, cert: ours.cert, ca: readFileSync(ours.caFile, "utf8") },
  });
  registry.addImage("team/app", "v1", []);
  return registry;
}

/** OpenSSL's own server, which ends a handshake as RFC 8446 says. */
async function strictServer() {
  const child = spawn(
    process.env["OPENSSL"] ?? "openssl",
    "s_server -accept 127.0.0.1:0 -www -cert leaf.pem -key leaf.key -CAfile ca.pem -Verify 1 -verify_return_error".split(
      " ",
    ),
    { cwd: ours.folder, stdio: ["ignore", "pipe", "ignore"] },
  );
  const port = await new Promise<string>((resolve) => {
    let said = "";
    child.stdout.on("data", (chunk: Buffer) => {
      said += chunk.toString();
      const found = /^ACCEPT .*:(\d+)$/m.exec(said);
      if (found !== null) resolve(found[1]!);
    });
  });
  const registry = parseRegistryHost(`127.0.0.1:${port}`);
  return {
    registry,
    repository: (name: string) => ({ registry, name: parseRepositoryName(name) }),
    async [Symbol.asyncDispose]() {
      const closed = once(child, "close");
      child.kill();
      await closed;
    },
  };
}

/** A `certs.d` folder with these files for a registry. */
function folderFor(host: string, files: Readonly<Record<string, string>>) {
  const root = mkdtempSync(join(tmpdir(), "shoal-certs-"));
  mkdirSync(join(root, host));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(root, host, name), text);
  return { root, [Symbol.dispose]: () => rmSync(root, { recursive: true }) };
}

async function ask(
  registry: Pick<ScriptedRegistry, "registry" | "repository">,
  settings: RegistrySettings,
  folders: readonly string[] = [],
): Promise<unknown> {
  await using upstream = createUpstream(
    { clock: systemClock, logger: silentLogger, metrics: noMetrics },
    {
      userAgent: "shoal/test",
      retry: { tries: 1, baseMs: 1 },
      certificateFolders: folders,
      registries: { [registry.registry]: { plainHttp: false, ...settings } },
    },
  );
  return await upstream.manifest(registry.repository("team/app"), TAG);
}

describe("a registry that wants a client certificate", () => {
  test("gets the configured one", async () => {
    await using registry = await setUp();
    await expect(ask(registry, { caFile: ours.caFile, ...CLIENT })).resolves.toBeDefined();
  });

  test.each([
    ["none", {}],
    ["another authority's", FOREIGN_CLIENT],
  ])("and gets %s is told apart from one that is not trusted", async (_name, client) => {
    // Node's own server closes such a connection without the alert that others send.
    await using server = await strictServer();
    await expect(ask(server, { caFile: ours.caFile, ...client })).rejects.toMatchObject({
      code: "ERR_UPSTREAM_TLS",
      message: expect.stringContaining("clientCertFile") as string,
    });
  });

  test("gets the one of the first folder of an engine that has one, whose authority is trusted, too", async () => {
    await using registry = await setUp();
    using first = folderFor(registry.registry, { "ca.crt": readFileSync(ours.caFile, "utf8") });
    using second = folderFor(registry.registry, {
      "client.cert": ours.cert,
      "client.key": ours.key,
    });
    using third = folderFor(registry.registry, {
      "client.cert": foreign.cert,
      "client.key": foreign.key,
    });
    using other = folderFor("registry.example", { "client.cert": "junk" });
    const folders = [other, first, second, third].map(({ root }) => root);
    await expect(ask(registry, {}, ["/nowhere", ...folders])).resolves.toBeDefined();
    await expect(ask(registry, FOREIGN_CLIENT, folders)).rejects.toThrow(
      / broke |client certificate/,
    );
  });

  test("gets a renewed one after a minute", async () => {
    await using registry = await setUp();
    using folder = folderFor(registry.registry, {
      "ca.crt": readFileSync(ours.caFile, "utf8"),
      "client.cert": foreign.cert,
      "client.key": foreign.key,
    });
    let nowMs = 0;
    await using upstream = createUpstream(
      { clock: { ...systemClock, now: () => nowMs }, logger: silentLogger, metrics: noMetrics },
      {
        userAgent: "shoal/test",
        retry: { tries: 1, baseMs: 1 },
        certificateFolders: [folder.root],
        registries: { [registry.registry]: { plainHttp: false } },
      },
    );
    const pull = () => upstream.manifest(registry.repository("team/app"), TAG);
    await expect(pull()).rejects.toThrow(/ broke |client certificate/);
    const inFolder = join(folder.root, registry.registry);
    writeFileSync(join(inFolder, "client.cert"), ours.cert);
    writeFileSync(join(inFolder, "client.key"), ours.key);
    nowMs = 61_000;
    await expect(pull()).resolves.toBeDefined();
  });

  test("keeps it from a host that it redirects to", async () => {
    await using registry = await setUp();
    const seen: boolean[] = [];
    await using cdn = await createScriptedRegistry({
      host: "localhost",
      tls: { key: ours.key, cert: ours.cert, ca: readFileSync(ours.caFile, "utf8") },
    });
    registry.script(({ path }) => {
      seen.push(true);
      return { status: 307, headers: { location: `${cdn.origin}${path}` } };
    });
    await expect(
      ask(registry, { caFile: ours.caFile, ...CLIENT, allowPrivate: true }),
    ).rejects.toThrow(/ broke |client certificate/);
    expect(seen).toEqual([true]);
    expect(cdn.requests).toEqual([]);
  });
});

describe("a certificate's file", () => {
  test.each([
    ["a key that is not there", { "client.cert": ours.cert }, "client.key cannot be read (ENOENT)"],
    [
      "another certificate's key",
      { "client.cert": ours.cert, "client.key": foreign.key },
      "are not a PEM certificate and its key",
    ],
    ["an authority that is none", { "ca.crt": "junk" }, "a .crt file there must be a PEM file"],
  ])("with %s is named, with what to do", async (_name, files, message) => {
    await using registry = await setUp();
    using folder = folderFor(registry.registry, files);
    await expect(ask(registry, {}, [folder.root])).rejects.toMatchObject({
      code: "ERR_UPSTREAM_TLS",
      message: expect.stringContaining(message) as string,
    });
    expect(registry.requests).toEqual([]);
  });

  test("without its other half is refused at the start", () => {
    for (const half of ["clientCertFile", "clientKeyFile"])
      expect(() =>
        createUpstream(
          { clock: systemClock, logger: silentLogger, metrics: noMetrics },
          { userAgent: "shoal/test", registries: { "registry.lab": { [half]: "/x.pem" } } },
        ),
      ).toThrowError(expect.objectContaining({ code: "ERR_REGISTRY_SETTINGS" }) as Error);
  });
});

test("a registry whose certificate is not checked is warned of once", async () => {
  await using registry = await createScriptedRegistry({ tls: ours });
  registry.addImage("team/app", "v1", []);
  const warnings: unknown[] = [];
  await using upstream = createUpstream(
    {
      clock: systemClock,
      logger: { ...silentLogger, warn: (fields, message) => warnings.push([fields, message]) },
      metrics: noMetrics,
    },
    {
      userAgent: "shoal/test",
      registries: { [registry.registry]: { plainHttp: false, insecureSkipVerify: true } },
    },
  );
  await upstream.manifest(registry.repository("team/app"), TAG);
  await upstream.manifest(registry.repository("team/app"), TAG);
  expect(warnings).toEqual([
    [
      { registry: registry.registry },
      "the certificate of a registry is not checked, as configured",
    ],
  ]);
});

test("the engines' folders are the user's before the system's", () => {
  expect(certificateFolders({ env: {}, homeDir: "/home/me" })).toEqual([
    "/home/me/.config/containers/certs.d",
    "/etc/containers/certs.d",
    "/etc/docker/certs.d",
  ]);
  expect(certificateFolders({ env: { XDG_CONFIG_HOME: "/x" }, homeDir: "/home/me" })[0]).toBe(
    "/x/containers/certs.d",
  );
});
