import { appendFile, mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { digestOf, MEDIA_TYPES } from "@shoal/oci";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type LabDaemon, startDaemon } from "../lab/daemon.ts";
import { CANARY, expectNoLogins, secrets } from "../lab/secrets.ts";

const CLIENTS = `Basic ${Buffer.from("client:of-the-mirror").toString("base64")}`;
const LAYER = Buffer.alloc(300_000, "layer");
const MANIFEST = JSON.stringify({
  schemaVersion: 2,
  mediaType: MEDIA_TYPES.ociManifest,
  config: {
    mediaType: "application/vnd.oci.empty.v1+json",
    digest: digestOf(LAYER),
    size: 300_000,
  },
  layers: [],
});

describe("what must not get out", () => {
  let folder = "";
  let registry: Server;
  let host = "";
  let daemon: LabDaemon;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "shoal-secrets-"));
    registry = createServer((request, response) => {
      const isManifest = request.url!.includes("/manifests/");
      const body = isManifest ? Buffer.from(MANIFEST) : LAYER;
      response.writeHead(200, {
        "content-type": isManifest ? MEDIA_TYPES.ociManifest : "application/octet-stream",
        "content-length": body.length,
      });
      response.end(request.method === "HEAD" ? undefined : body);
    });
    expectNoLogins(registry, "the registry");
    await new Promise<void>((resolve) => {
      registry.listen(0, "127.0.0.1", resolve);
    });
    host = `127.0.0.1:${(registry.address() as AddressInfo).port}`;
    daemon = await startDaemon({
      folder: join(folder, "daemon"),
      registry: host,
      mirror: "127.0.0.1:0",
      extra:
        'metrics: { listen: ["127.0.0.1:0"] }\nswarm: { listen: ["127.0.0.1"], port: 0, mdns: false }',
    });
  });
  afterEach(async () => {
    await daemon[Symbol.asyncDispose]();
    registry.closeAllConnections();
    registry.close();
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  });

  it("a client's login for the mirror goes no further, and is written nowhere", async () => {
    secrets.add(CLIENTS);
    const [mirror] = (await daemon.status()).mirror;
    for (const path of ["manifests/v1", `blobs/${digestOf(LAYER)}`, "manifests/v1"]) {
      const response = await fetch(`http://${mirror}/v2/team/app/${path}?ns=${host}`, {
        headers: { authorization: CLIENTS, cookie: "a=b" },
      });
      expect((await response.arrayBuffer()).byteLength).toBeGreaterThan(100);
    }
    await daemon.stop();
    expect((await daemon.logs()).length).toBeGreaterThan(1);
  });

  it("fails the suite of the daemon that has written it, or that has sent it", async () => {
    await fetch(`http://${host}/v2/`, { headers: { authorization: CLIENTS } });
    await expect(daemon.stop()).rejects.toThrow(/the registry: authorization/);
    await appendFile(join(folder, "daemon/daemon.log"), `found ${CANARY.password}\n`);
    await appendFile(join(daemon.state, "audit/audit.jsonl"), `{"of":"${CANARY.password}"}\n`);
    await daemon.restart();
    await expect(daemon.stop()).rejects.toThrow(/log: secret .*audit.audit.jsonl: secret/);
  });
});
