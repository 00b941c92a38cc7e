import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createTestCertificates } from "@shoal/upstream/testing";
import { type LabDaemon, startDaemon } from "../lab/daemon.ts";
import { startEngine } from "../lab/engines.ts";
import { createImage, pushImage } from "../lab/images.ts";
import { prepareLab } from "../lab/install.ts";
import { type LabRegistry, LOOPBACK, startRegistry } from "../lab/registry.ts";
import { run } from "../lab/run.ts";
import { startThrottledWay } from "../lab/throttle.ts";
import { ISSUER, SERVICE, startTokenServer } from "../lab/token-server.ts";
import { MIB } from "./site.ts";

const skipped = await prepareLab(["docker-registry", "skopeo", "curl", "openssl"], false);
const podmanSkipped = skipped ?? (await prepareLab(["podman", "crun"]));

const USERNAME = "reader";
const PASSWORD = "htpasswd-secret";
/** bcrypt, the one kind that docker-registry reads. */
const HTPASSWD = `${USERNAME}:$2b$04$rwOi5MWqzZI8fz9YoMBS4uQ67gsL.XlVZSE89kT4qlGV0tvQLLnSC\n`;
const NAME = "team/app";

const hexOf = (digest: string): string => digest.slice(digest.indexOf(":") + 1);

describe.skipIf(skipped !== undefined)("a pull through the mirror from docker-registry", () => {
  const image = createImage(Array.from({ length: 9 }, (_, index) => MIB + 512 * index));
  const port = 40_000 + (process.pid % 20_000);
  let folder = "";
  let stack: AsyncDisposableStack;

  beforeEach(async () => {
    stack = new AsyncDisposableStack();
    folder = await mkdtemp(join(tmpdir(), "shoal-registries-"));
    stack.defer(async () => await rm(folder, { recursive: true, force: true, maxRetries: 3 }));
  });
  afterEach(async () => await stack.disposeAsync());

  /** An open registry with the image; what is started in its folder later has the same content. */
  async function startFilled(): Promise<LabRegistry> {
    const registry = stack.use(await startRegistry(LOOPBACK, join(folder, "registry"), { port }));
    await pushImage(LOOPBACK, registry.url, NAME, "v1", image, join(folder, "push"));
    return registry;
  }

  async function startGuarded(auth: string, tls = false): Promise<LabRegistry> {
    await (await startFilled()).stop();
    const init = { port, tls, extra: `auth: ${auth}` };
    return stack.use(await startRegistry(LOOPBACK, join(folder, "registry"), init));
  }

  async function startWithLogin(
    registry: string,
    host: string,
    registryCaFile?: string,
  ): Promise<LabDaemon> {
    return stack.use(
      await startDaemon({
        logins: { [host]: { username: USERNAME, password: PASSWORD } },
        folder: join(folder, "daemon"),
        registry,
        ...(registryCaFile === undefined ? {} : { registryCaFile }),
        mirror: "127.0.0.1:0",
        extra:
          'metrics: { listen: ["127.0.0.1:0"] }\nswarm: { listen: ["127.0.0.1"], port: 0, mdns: false }',
      }),
    );
  }

  /** Copies the image with skopeo through the mirror, and compares every byte. */
  async function pull(daemon: LabDaemon, host: string): Promise<void> {
    const [mirror] = (await daemon.status()).mirror;
    const target = join(folder, "copy");
    const source = `docker://${mirror}/${host.replace(":", "_")}/${NAME}:v1`;
    await run([
      "skopeo",
      "copy",
      "--src-tls-verify=false",
      "--src-no-creds",
      source,
      `dir:${target}`,
    ]);
    for (const { bytes, descriptor } of image.blobs)
      expect((await readFile(join(target, hexOf(descriptor.digest)))).equals(bytes)).toBe(true);
    const manifest = await readFile(join(target, "manifest.json"));
    expect(manifest.equals(image.manifest.bytes)).toBe(true);
  }

  /** Podman, which has no login: what it gets, it has from the mirror. */
  async function pullByPodman(daemon: LabDaemon, host: string): Promise<void> {
    const [mirror] = (await daemon.status()).mirror;
    const init = { place: LOOPBACK, folder: join(folder, "podman"), registry: host };
    await using podman = await startEngine("podman", { ...init, mirror: mirror! });
    const [configuration] = image.blobs;
    expect(await podman.pull(`${NAME}:v1`)).toBe(hexOf(configuration!.descriptor.digest));
  }

  it("with htpasswd", async () => {
    const passwords = join(folder, "htpasswd");
    await writeFile(passwords, HTPASSWD);
    const registry = await startGuarded(`{ htpasswd: { realm: lab, path: "${passwords}" } }`);
    const daemon = await startWithLogin(registry.host, registry.host);
    await pull(daemon, registry.host);
    expect((await registry.accesses()).some(({ status }) => status === 401)).toBe(true);
  });

  it.skipIf(process.getuid?.() !== 0)(
    "with htpasswd, which is there for root and not for another user of the machine",
    async () => {
      const passwords = join(folder, "htpasswd");
      await writeFile(passwords, HTPASSWD);
      const registry = await startGuarded(`{ htpasswd: { realm: lab, path: "${passwords}" } }`);
      const daemon = await startWithLogin(registry.host, registry.host);
      const [mirror] = (await daemon.status()).mirror;
      const [, layer] = image.blobs;
      const path = `v2/${registry.host.replace(":", "_")}/${NAME}`;
      const blob = `http://${mirror}/${path}/blobs/${layer!.descriptor.digest}`;
      const manifest = `http://${mirror}/${path}/manifests/v1`;
      const asNobody = (argv: readonly string[]) => [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        ...argv,
      ];
      const status = async (url: string, by = (argv: readonly string[]) => [...argv]) =>
        (await run(by(["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", url]))).trim();
      const inspect = [
        "skopeo",
        "inspect",
        "--no-tags",
        "--tls-verify=false",
        "--no-creds",
        `docker://${mirror}/${path.slice(3)}:v1`,
      ];
      expect(await status(manifest, asNobody)).toBe("404");
      await pull(daemon, registry.host);
      for (const url of [manifest, blob]) {
        expect(await status(url)).toBe("200");
        expect(await status(url, asNobody)).toBe("404");
      }
      expect(await run(inspect)).toContain("sha256:");
      await expect(run(asNobody(["env", `HOME=${tmpdir()}`, ...inspect]))).rejects.toThrow(
        /404|unknown|not found/i,
      );
    },
  );

  it("with htpasswd and no login, which says to log in", async () => {
    const passwords = join(folder, "htpasswd");
    await writeFile(passwords, HTPASSWD);
    const registry = await startGuarded(`{ htpasswd: { realm: lab, path: "${passwords}" } }`);
    const daemon = await startWithLogin(registry.host, "other.example");
    await expect(pull(daemon, registry.host)).rejects.toThrow(/log in|login/);
  });

  it.each(["skopeo", "podman"] as const)(
    "with htpasswd over TLS of an authority of its own, by %s",
    async (engine) => {
      if (engine === "podman" && podmanSkipped !== undefined) return;
      const passwords = join(folder, "htpasswd");
      await writeFile(passwords, HTPASSWD);
      const auth = `{ htpasswd: { realm: lab, path: "${passwords}" } }`;
      const registry = await startGuarded(auth, true);
      const daemon = await startWithLogin(registry.host, registry.host, registry.caFile);
      if (engine === "skopeo") await pull(daemon, registry.host);
      else await pullByPodman(daemon, registry.host);
      expect((await registry.accesses()).some(({ status }) => status === 401)).toBe(true);
    },
  );

  it("with tokens that expire in mid-pull", async () => {
    const certificate = createTestCertificates({ parent: folder });
    const tokens = stack.use(
      await startTokenServer({
        certificate,
        username: USERNAME,
        password: PASSWORD,
        goodForSeconds: 2,
      }),
    );
    const registry = await startGuarded(
      `{ token: { realm: "${tokens.realm}", service: ${SERVICE}, issuer: ${ISSUER}, rootcertbundle: "${certificate.caFile}" } }`,
    );
    // Nine layers of 1 MiB, six at a time, take about five seconds.
    const way = stack.use(await startThrottledWay(port, 16));
    const daemon = await startWithLogin(way.host, way.host);
    await pull(daemon, way.host);
    const blobs = (await registry.accesses()).filter(({ path }) => path.includes("/blobs/"));
    const statuses = blobs.map(({ status }) => status);
    const begun = statuses.indexOf(200);
    expect(statuses.indexOf(401, begun)).toBeGreaterThan(begun);
    expect(tokens.given.length).toBeGreaterThan(1);
  });

  it("that is a proxy of another, cold and warm", async () => {
    const origin = await startFilled();
    const proxy = stack.use(
      await startRegistry(LOOPBACK, join(folder, "proxy"), {
        port: port + 1,
        extra: `proxy: { remoteurl: "${origin.url}" }`,
      }),
    );
    for (const times of [1, 2]) {
      const daemon = await startWithLogin(proxy.host, proxy.host);
      await pull(daemon, proxy.host);
      const { fromUpstreamBytes } = (await daemon.status()).traffic;
      expect([times, fromUpstreamBytes]).toEqual([
        times,
        image.blobs.reduce((sum, { bytes }) => sum + bytes.length, 0),
      ]);
      await daemon.stop();
      await rm(join(folder, "daemon"), { recursive: true });
      await rm(join(folder, "copy"), { recursive: true });
    }
  });
});
