import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Pull } from "@shoal/api";
import { digestOf, MEDIA_TYPES } from "@shoal/oci";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type LabDaemon, NODE, startDaemon } from "../lab/daemon.ts";
import { prepareLab } from "../lab/install.ts";
import { run } from "../lab/run.ts";
import { expectNoLogins } from "../lab/secrets.ts";

const MAIN = new URL("../../packages/daemon/src/main.ts", import.meta.url).pathname;
const needsRoot = await prepareLab([]);

/** A registry that answers each repository with another fault. */
function startFaultyRegistry(): Server {
  const layer = Buffer.alloc(300_000, "x");
  const configuration = Buffer.from(
    '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}',
  );
  const descriptor = (mediaType: string, bytes: Buffer) => ({
    mediaType,
    digest: digestOf(bytes),
    size: bytes.length,
  });
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.ociManifest,
    config: descriptor("application/vnd.oci.image.config.v1+json", configuration),
    layers: [descriptor("application/vnd.oci.image.layer.v1.tar", layer)],
  });
  return createServer((request, response) => {
    const url = request.url ?? "";
    if (url.startsWith("/v2/html/"))
      response.writeHead(200, { "content-type": "text/html" }).end("<html>Log in</html>");
    else if (url.startsWith("/v2/missing/")) response.writeHead(404).end('{"errors":[]}');
    else if (url.startsWith("/v2/huge/"))
      response
        .writeHead(200, { "content-type": MEDIA_TYPES.ociManifest })
        .end(Buffer.alloc(5 * 1024 * 1024, " "));
    else if (url.includes("/manifests/"))
      response
        .writeHead(200, { "content-type": MEDIA_TYPES.ociManifest })
        .end(request.method === "HEAD" ? undefined : manifest);
    else if (url.endsWith(digestOf(configuration)))
      response.writeHead(200, { "content-length": configuration.length }).end(configuration);
    else if (url.startsWith("/v2/short/")) {
      response.writeHead(200, { "content-length": layer.length });
      response.write(layer.subarray(0, 1000));
      setTimeout(() => response.destroy(), 20);
    } else response.writeHead(200, { "content-length": layer.length }).end(layer);
  });
}

describe("bad input ends in an error with a code and the next step", () => {
  let folder = "";
  let faulty: Server;
  let registry = "";
  let daemon: LabDaemon;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "shoal-bad-"));
    faulty = startFaultyRegistry();
    expectNoLogins(faulty, "the faulty registry");
    await new Promise<void>((resolve) => {
      faulty.listen(0, "127.0.0.1", resolve);
    });
    registry = `127.0.0.1:${(faulty.address() as AddressInfo).port}`;
    daemon = await startDaemon({
      folder: join(folder, "daemon"),
      registry,
      mirror: "127.0.0.1:0",
      extra:
        'metrics: { listen: ["127.0.0.1:0"] }\nupstream: { allowPrivate: true }\nswarm: { listen: ["127.0.0.1"], port: 0, mdns: false }',
    });
  });
  afterAll(async () => {
    await daemon[Symbol.asyncDispose]();
    faulty.closeAllConnections();
    await new Promise((resolve) => {
      faulty.close(resolve);
    });
    await rm(folder, { recursive: true, force: true });
  });

  async function pullBy(from: LabDaemon, reference: string): Promise<Pull> {
    const { id } = await from.api.startPull({ reference });
    for await (const event of from.api.events({ pull: id }))
      if (event.type === "pull" && event.pull.finishedAt !== undefined) return event.pull;
    throw new Error("the pull did not end");
  }

  it.each([
    ["an unknown repository", "missing:v1", "ERR_UPSTREAM_NOT_FOUND", /tag|name|login|log in/i],
    ["a registry that answers HTML", "html:v1", "ERR_UPSTREAM_NOT_A_REGISTRY", /registr/i],
    ["a manifest over 4 MiB", "huge:v1", "ERR_MANIFEST_TOO_LARGE", /4 MiB/],
    ["a truncated body", "short:v1", "ERR_UPSTREAM_TRUNCATED", /push|registry/i],
  ])("%s", { timeout: 60_000 }, async (_what, name, code, step) => {
    const pull = await pullBy(daemon, `${registry}/${name}`);
    expect(pull).toMatchObject({ state: "failed", error: { code } });
    expect(pull.error!.message).toMatch(step);
  });

  it("an unknown registry", { timeout: 60_000 }, async () => {
    const pull = await pullBy(daemon, "registry.invalid/app:v1");
    expect(pull).toMatchObject({ state: "failed", error: { code: "ERR_UPSTREAM_UNKNOWN_HOST" } });
    expect(pull.error!.message).toMatch(/name|DNS/i);
  });

  it("a refused port", { timeout: 60_000 }, async () => {
    const pull = await pullBy(daemon, "127.0.0.1:9/app:v1");
    expect(pull).toMatchObject({ state: "failed", error: { code: "ERR_UPSTREAM_UNREACHABLE" } });
    expect(pull.error!.message).toMatch(/refuse|running|reach/i);
  });

  it("a mistyped reference", async () => {
    await expect(daemon.api.startPull({ reference: "Alpine:3" })).rejects.toMatchObject({
      code: "ERR_REFERENCE_INVALID",
    });
  });

  it("a mistyped token", async () => {
    const token = await daemon.api.token();
    const typo = token.slice(0, -1) + (token.endsWith("0") ? "1" : "0");
    await expect(daemon.api.join({ token: typo })).rejects.toMatchObject({
      code: "ERR_TOKEN_INVALID",
      message: expect.stringMatching(/mistyped/) as never,
    });
  });

  it.skipIf(needsRoot !== undefined)(
    "a full disk: the pull says so, the mirror passes the blob through",
    { timeout: 60_000 },
    async () => {
      const mount = join(folder, "small");
      await mkdir(mount);
      await run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", mount]);
      try {
        await using small = await startDaemon({
          folder: join(folder, "full"),
          registry,
          mirror: "127.0.0.1:0",
          extra: `metrics: { listen: ["127.0.0.1:0"] }\nstore: { minFreeBytes: 1900000 }`,
          state: mount,
        });
        const pull = await pullBy(small, `${registry}/good:v1`);
        expect(pull).toMatchObject({ state: "failed", error: { code: "ERR_STORE_FULL" } });
        expect(pull.error!.message).toMatch(/free some disk space/);
        const [mirror] = (await small.status()).mirror;
        const manifest = await fetch(`http://${mirror}/v2/good/manifests/v1?ns=${registry}`);
        const { layers } = (await manifest.json()) as {
          layers: { digest: string; size: number }[];
        };
        const blob = await fetch(
          `http://${mirror}/v2/good/blobs/${layers[0]!.digest}?ns=${registry}`,
        );
        expect((await blob.arrayBuffer()).byteLength).toBe(layers[0]!.size);
      } finally {
        await run(["umount", mount]);
      }
    },
  );

  describe("at the start", () => {
    async function startWith(yaml: string, as?: number): Promise<string> {
      const file = join(folder, `start-${Math.random()}.yaml`);
      await writeFile(file, yaml);
      const argv = [NODE, MAIN, "--config", file];
      const command =
        as === undefined ? argv : ["setpriv", `--reuid=${as}`, "--clear-groups", ...argv];
      return await run(command, { timeoutMs: 20_000 }).then(
        () => "it started",
        (error: unknown) => String(error),
      );
    }
    const base = (name: string): string =>
      `state: ${join(folder, name)}\nsocket: ${join(folder, `${name}.sock`)}\nmetrics: { listen: ["127.0.0.1:0"] }\n`;

    it("a busy port", async () => {
      const said = await startWith(`${base("busy")}mirror: { listen: ["${registry}"] }`);
      expect(said).toContain("error [ERR_PORT_IN_USE]");
      expect(said).toContain("mirror.listen");
    });

    it("a setting that does not exist", async () => {
      const said = await startWith(`${base("typo")}miror: {}`);
      expect(said).toMatch(
        /error \[ERR_CONFIG\].*:4:1: there is no setting miror; did you mean mirror\?/s,
      );
    });

    it("a token file with a typo", async () => {
      const token = join(folder, "bad-token");
      await writeFile(token, "shoal1-2f0rqmvx-wdpc07cc-0jxv3p88-h9hyy2ag-r3qnnnh9");
      const said = await startWith(
        `${base("token")}site: { tokenFile: ${token} }\nmirror: { listen: ["127.0.0.1:0"] }`,
      );
      expect(said).toContain("error [ERR_TOKEN_INVALID]");
    });

    it("a state folder that another daemon uses", async () => {
      const yaml = `state: ${daemon.state}\nsocket: ${join(folder, "x.sock")}\nmirror: { listen: ["127.0.0.1:0"] }\nmetrics: { listen: ["127.0.0.1:0"] }`;
      expect(await startWith(yaml)).toContain("error [ERR_STORE_LOCKED]");
    });

    it.skipIf(needsRoot !== undefined)("a state folder of another user", async () => {
      const state = join(folder, "roots");
      await mkdir(state, { mode: 0o700 });
      await run(["chmod", "755", folder]);
      const yaml = `state: ${state}/inner\nsocket: /tmp/never.sock\nmirror: { listen: ["127.0.0.1:0"] }\nmetrics: { listen: ["127.0.0.1:0"] }`;
      const said = await startWith(yaml, 65_534);
      expect(said).toMatch(/error \[ERR_ST(ATE_FOLDER|ORE_PERMISSION)\]/);
      expect(said).toMatch(/daemon's user/);
    });
  });
});
