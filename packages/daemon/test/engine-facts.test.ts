import { randomBytes } from "node:crypto";
import { connect } from "node:net";
import { connect as connectTls } from "node:tls";
import { type Digest, digestOf, MAX_MANIFEST_BYTES, MEDIA_TYPES } from "@shoal/oci";
import { createScriptedRegistry } from "@shoal/upstream/testing";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createTestDaemon, type TestDaemon } from "./support.ts";

/** What engines do with an answer, so that the mirror must give no other. */
describe("the mirror, as engines need it", () => {
  let daemon: TestDaemon;
  beforeEach(async () => {
    daemon = await createTestDaemon(
      {},
      { registry: await createScriptedRegistry({ referrers: true }) },
    );
  });
  afterEach(async () => await daemon[Symbol.asyncDispose]());

  /** An image of one layer, whose manifest has been pulled. */
  async function pulled(sizeBytes: number): Promise<{ digest: Digest; bytes: Uint8Array }> {
    const { layers } = daemon.registry.addImage("app", "v1", [sizeBytes]);
    await (await fetch(daemon.url("app/manifests/v1"))).arrayBuffer();
    return layers[0]!;
  }

  /** What the socket brings for a GET, and how it ends. */
  async function rawGet(url: string): Promise<{ head: string; body: Buffer; ended: string }> {
    const { hostname, port, pathname, search } = new URL(url);
    const socket = connect({ port: Number(port), host: hostname, allowHalfOpen: true });
    const chunks: Buffer[] = [];
    const { promise, resolve } = Promise.withResolvers<string>();
    socket.on("data", (chunk) => chunks.push(chunk));
    socket.once("end", () => resolve("FIN"));
    socket.once("error", ({ code }: NodeJS.ErrnoException) => resolve(code ?? "error"));
    socket.write(`GET ${pathname}${search} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    const ended = await promise;
    socket.destroy();
    const all = Buffer.concat(chunks);
    const end = all.indexOf("\r\n\r\n");
    return { head: all.subarray(0, end).toString(), body: all.subarray(end + 4), ended };
  }

  it("keeps idle connections for longer than Go's clients do", async () => {
    const response = await fetch(`${daemon.mirror}/v2/`);
    const seconds = Number(/timeout=(\d+)/.exec(response.headers.get("keep-alive") ?? "")?.[1]);
    expect(seconds).toBeGreaterThan(120);
  });

  it("answers a whole TLS hello with HTTP, so that containerd goes on without TLS", async () => {
    const { port } = new URL(daemon.mirror);
    const { promise, resolve } = Promise.withResolvers<NodeJS.ErrnoException>();
    const socket = connectTls({ port: Number(port), host: "127.0.0.1", servername: "localhost" });
    const heard: Buffer[] = [];
    socket.once("error", resolve);
    const plain = connect(Number(port), "127.0.0.1");
    plain.on("data", (chunk) => heard.push(chunk));
    const closed = new Promise((end) => plain.once("close", end));
    // A record of a handshake, version 1.0, as Go's crypto/tls writes the first one.
    plain.end(Buffer.concat([Buffer.from("160301020001", "hex"), randomBytes(511)]));
    expect((await promise).code).toMatch(/WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|EPROTO/);
    await closed;
    expect(Buffer.concat(heard).subarray(0, 5).toString()).toBe("HTTP/");
  });

  it("ends a body that the registry breaks off short of its length, with FIN, and it can be resumed", async () => {
    const { digest, bytes } = await pulled(1_000_000);
    let gets = 0;
    daemon.registry.script(({ method, path }) => {
      if (method !== "GET" || !path.includes(digest)) return undefined;
      gets += 1;
      return gets === 1 ? { truncateAfter: 600_000 } : { status: 404 };
    });
    const url = daemon.url(`app/blobs/${digest}`);
    const { head, body, ended } = await rawGet(url);
    expect(head).toMatch(/^HTTP\/1.1 200 /);
    expect(head).toMatch(/^content-length: 1000000\r?$/im);
    expect(ended).toBe("FIN");
    expect(body.length).toBeGreaterThan(0);
    expect(body.length).toBeLessThan(1_000_000);
    expect(body.equals(bytes.subarray(0, body.length))).toBe(true);
    daemon.registry.script(() => undefined);
    const rest = await fetch(url, { headers: { range: `bytes=${body.length}-` } });
    expect(rest.status).toBe(206);
    expect(rest.headers.get("content-range")).toBe(`bytes ${body.length}-999999/1000000`);
    const whole = Buffer.concat([body, Buffer.from(await rest.arrayBuffer())]);
    expect(whole.equals(bytes)).toBe(true);
  });

  it.each([
    [{ status: 404 }, 404],
    [{ status: 403 }, 404],
    [{ body: "<html>", headers: { "content-encoding": "gzip" } }, 503],
    [{ body: new Uint8Array(7) }, 503],
  ])(
    "has a blob's first bytes before it says 200: %j is answered with %i",
    async (quirk, status) => {
      const { digest } = await pulled(300_000);
      daemon.registry.script(({ path }) => (path.includes(digest) ? quirk : undefined));
      const response = await fetch(daemon.url(`app/blobs/${digest}`));
      expect(response.status).toBe(status);
      expect(await response.json()).toHaveProperty("errors");
    },
  );

  it.each([401, 403, 407, 429])(
    "never passes a registry's %i on as 401, 407 or 429, whatever is asked",
    async (status) => {
      const digest = digestOf(Buffer.from("what nobody has heard of"));
      const headers = { "www-authenticate": 'Basic realm="x"', "retry-after": "0" };
      daemon.registry.script(() => ({ status, headers }));
      const paths = ["manifests/v2", `manifests/${digest}`, `blobs/${digest}`, "tags/list"];
      for (const path of [...paths, `referrers/${digest}`])
        for (const method of ["GET", "HEAD"]) {
          const response = await fetch(daemon.url(`app/${path}`), { method });
          expect([path, [404, 503].includes(response.status)]).toEqual([path, true]);
          expect(response.headers.get("www-authenticate")).toBeNull();
          expect(response.headers.get("proxy-authenticate")).toBeNull();
          expect(response.headers.get("retry-after")).toBeNull();
        }
    },
  );

  it("streams what a registry redirects to, and redirects nobody", async () => {
    const { digest, bytes } = await pulled(300_000);
    const { registry } = daemon;
    registry.script(({ path }) => {
      if (path.startsWith("/storage/")) return { status: 200, body: bytes };
      const location = `${registry.origin}/storage/${digest}`;
      return path.includes(digest) ? { status: 307, headers: { location } } : undefined;
    });
    const response = await fetch(daemon.url(`app/blobs/${digest}`), { redirect: "manual" });
    expect(response.status).toBe(200);
    expect(response.headers.get("location")).toBeNull();
    expect(Buffer.from(await response.arrayBuffer()).equals(bytes)).toBe(true);
  });

  it("takes manifests of up to 4 MiB", async () => {
    const manifestOf = (sizeBytes: number): Buffer => {
      const empty = JSON.stringify({ schemaVersion: 2, manifests: [], note: "" });
      return Buffer.from(empty.replace('""', `"${"x".repeat(sizeBytes - empty.length)}"`));
    };
    const { registry } = daemon;
    registry.addManifest("app", manifestOf(MAX_MANIFEST_BYTES), MEDIA_TYPES.ociIndex, "largest");
    registry.addManifest("app", manifestOf(MAX_MANIFEST_BYTES + 1), MEDIA_TYPES.ociIndex, "larger");
    const largest = await fetch(daemon.url("app/manifests/largest"));
    expect(largest.status).toBe(200);
    expect((await largest.arrayBuffer()).byteLength).toBe(MAX_MANIFEST_BYTES);
    expect((await fetch(daemon.url("app/manifests/larger"))).status).toBe(503);
  });

  it("is asked for an upstream by ns= before its path, and for Docker Hub by neither", async () => {
    await pulled(1000);
    const { registry } = daemon.registry;
    const asked = (path: string) => fetch(`${daemon.mirror}/v2/${path}`);
    expect((await asked(`${registry.replace(":", "_")}/app/manifests/v1`)).status).toBe(200);
    daemon.registry.addImage("quay.io/app", "v2", [10]);
    expect((await asked(`quay.io/app/manifests/v2?ns=${registry}`)).status).toBe(200);
  });
});
