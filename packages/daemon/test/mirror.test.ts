import { connect } from "node:net";
import { request as httpRequest } from "node:http";
import { digestOf, MEDIA_TYPES } from "@shoal/oci";
import fc from "fast-check";
import { createApiClient } from "@shoal/api";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createTestDaemon, type TestDaemon } from "./support.ts";

describe("mirror", () => {
  let daemon: TestDaemon;
  beforeEach(async () => {
    daemon = await createTestDaemon();
  });
  afterEach(async () => await daemon[Symbol.asyncDispose]());

  /** Everything that the server sends for a raw request, and whether it ended with FIN. */
  async function raw(
    path: string,
    headers = "",
  ): Promise<{ text: string; bodyBytes: number; clean: boolean }> {
    const { hostname, port } = new URL(daemon.mirror);
    return await new Promise((resolve) => {
      const socket = connect(Number(port), hostname);
      const chunks: Buffer[] = [];
      let clean = true;
      socket.on("error", () => {
        clean = false;
      });
      socket.on("data", (chunk) => chunks.push(chunk));
      socket.on("close", () => {
        const all = Buffer.concat(chunks);
        const end = all.indexOf("\r\n\r\n");
        resolve({ text: all.subarray(0, end).toString(), bodyBytes: all.length - end - 4, clean });
      });
      socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n${headers}\r\n`);
    });
  }

  it("answers the base path", async () => {
    const response = await fetch(`${daemon.mirror}/v2/`);
    expect(response.status).toBe(200);
  });

  it("gives a manifest's exact bytes and headers, for GET and HEAD, by tag and by digest", async () => {
    const image = daemon.registry.addImage("app", "v1", [1000]);
    for (const reference of ["v1", image.digest])
      for (const method of ["GET", "HEAD"]) {
        const response = await fetch(daemon.url(`app/manifests/${reference}`), { method });
        expect(response.status).toBe(200);
        expect(response.headers.get("docker-content-digest")).toBe(image.digest);
        expect(response.headers.get("content-type")).toBe(MEDIA_TYPES.ociManifest);
        expect(response.headers.get("content-length")).toBe(String(image.manifest.length));
        const body = new Uint8Array(await response.arrayBuffer());
        expect(Buffer.compare(body, method === "GET" ? image.manifest : new Uint8Array())).toBe(0);
      }
    const gets = daemon.registry.requests.filter(({ method }) => method === "GET");
    expect(gets).toHaveLength(1);
  });

  it("names the upstream by path as well", async () => {
    daemon.registry.addImage("app", "v1", [10]);
    const inPath = daemon.registry.registry.replace(":", "_");
    const response = await fetch(`${daemon.mirror}/v2/${inPath}/app/manifests/v1`);
    expect(response.status).toBe(200);
  });

  it("gives blobs, whole and by range", async () => {
    const { layers } = daemon.registry.addImage("app", "v1", [300_000]);
    const [{ digest, bytes }] = layers as [(typeof layers)[number]];
    const url = daemon.url(`app/blobs/${digest}`);
    const whole = await fetch(url);
    expect(whole.status).toBe(200);
    expect(whole.headers.get("accept-ranges")).toBe("bytes");
    expect(whole.headers.get("docker-content-digest")).toBe(digest);
    expect(Buffer.compare(new Uint8Array(await whole.arrayBuffer()), bytes)).toBe(0);
    for (const [header, start, end] of [
      ["bytes=500-1499", 500, 1500],
      ["bytes=299000-", 299_000, 300_000],
      ["bytes=-500", 299_500, 300_000],
      ["bytes=299990-999999", 299_990, 300_000],
    ] as const) {
      const part = await fetch(url, { headers: { range: header } });
      expect(part.status).toBe(206);
      expect(part.headers.get("content-range")).toBe(`bytes ${start}-${end - 1}/300000`);
      expect(
        Buffer.compare(new Uint8Array(await part.arrayBuffer()), bytes.subarray(start, end)),
      ).toBe(0);
    }
    for (const header of ["bytes=500-0", "bytes=300000-"]) {
      const none = await fetch(url, { headers: { range: header } });
      expect(none.status).toBe(416);
      expect(none.headers.get("content-range")).toBe("bytes */300000");
    }
    const head = await fetch(url, { method: "HEAD" });
    expect(head.headers.get("content-length")).toBe("300000");
    const blobGets = daemon.registry.requests.filter(
      ({ method, path }) => method === "GET" && path.includes("/blobs/"),
    );
    expect(blobGets).toHaveLength(1);
  });

  it.each([
    ["a HEAD", { method: "HEAD" }, 200],
    ["a range that can't be", { headers: { range: "bytes=300000-" } }, 416],
  ])("answers %s from the size alone", async (_name, init, status) => {
    const { layers } = daemon.registry.addImage("app", "v1", [300_000, 200_000]);
    const [{ digest }, other] = layers as [(typeof layers)[number], (typeof layers)[number]];
    const response = await fetch(daemon.url(`app/blobs/${digest}`), init);
    expect(response.status).toBe(status);
    expect(response.headers.get("content-length")).toBe(status === 200 ? "300000" : "0");
    await (await fetch(daemon.url(`app/blobs/${other.digest}`))).arrayBuffer();
    const fetched = daemon.registry.requests.filter(
      ({ method, path }) => method === "GET" && path.includes(digest),
    );
    expect(fetched).toEqual([]);
  });

  it("lists what is pulled by tag among the images, by the tag's newest digest", async () => {
    await using asking = await createTestDaemon({
      resolve: { freshSeconds: 0, staleMaxSeconds: 0 },
    });
    await using client = createApiClient({ socketPath: asking.socket });
    for (const sizeBytes of [10, 20]) {
      const { digest } = asking.registry.addImage("app", "v1", [sizeBytes]);
      await (await fetch(asking.url("app/manifests/v1"))).arrayBuffer();
      const name = `${asking.registry.registry}/app:v1`;
      await expect
        .poll(async () => await client.images())
        .toMatchObject([{ name, digest, complete: false }]);
    }
  });

  it.each([
    ["app/manifests/missing", 404, "MANIFEST_UNKNOWN"],
    [`app/blobs/${digestOf(Buffer.from("no"))}`, 404, "BLOB_UNKNOWN"],
  ])("answers %s with an error of the spec", async (path, status, code) => {
    const response = await fetch(daemon.url(path));
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ errors: [{ code }] });
  });

  it.each([401, 403, 429, 500, 503])(
    "never passes a registry's %i on as 401 or 429",
    async (status) => {
      daemon.registry.addImage("app", "v1", [10]);
      daemon.registry.script(() => ({ status }));
      const response = await fetch(daemon.url("app/manifests/v1"));
      expect([404, 503]).toContain(response.status);
      expect(response.headers.get("www-authenticate")).toBeNull();
      expect(await response.json()).toHaveProperty("errors");
    },
  );

  it("refuses what is not pulling, and paths that are none", async () => {
    const push = await fetch(daemon.url("app/manifests/v1"), { method: "PUT", body: "x" });
    expect(push.status).toBe(405);
    expect(await push.json()).toMatchObject({ errors: [{ code: "UNSUPPORTED" }] });
    expect((await fetch(`${daemon.mirror}/v1/search`)).status).toBe(404);
    expect((await fetch(`${daemon.mirror}/v2/..%2f..%2fetc/manifests/x`)).status).toBe(404);
    expect((await fetch(`${daemon.mirror}/v2/app/manifests/v1?ns=http://x/`)).status).toBe(400);
  });

  it("ends a body with a wrong digest short of its length, with FIN", async () => {
    const { layers } = daemon.registry.addImage("app", "v1", [400_000]);
    const [{ digest, bytes }] = layers as [(typeof layers)[number]];
    const wrong = Uint8Array.from(bytes);
    wrong[300_000]! ^= 1;
    daemon.registry.script(({ path }) => (path.includes("/blobs/") ? { body: wrong } : undefined));
    await (await fetch(daemon.url("app/manifests/v1"))).arrayBuffer();
    const { text, bodyBytes, clean } = await raw(
      new URL(daemon.url(`app/blobs/${digest}`)).pathname + `?ns=${daemon.registry.registry}`,
    );
    expect(text).toMatch(/^HTTP\/1.1 200/);
    expect(text.toLowerCase()).toContain("content-length: 400000");
    expect(bodyBytes).toBeLessThanOrEqual(400_000 - 65_536);
    expect(clean).toBe(true);
    daemon.registry.script(() => undefined);
    const retry = await fetch(daemon.url(`app/blobs/${digest}`));
    const got = Buffer.from(await retry.arrayBuffer());
    expect(got.equals(bytes)).toBe(true);
  });

  it("serves the other readers when one goes away", async () => {
    const { layers } = daemon.registry.addImage("app", "v1", [2_000_000]);
    const [{ digest, bytes }] = layers as [(typeof layers)[number]];
    daemon.registry.script(() => ({ bytesPerSecond: 4_000_000 }));
    const leaver = new AbortController();
    const left = fetch(daemon.url(`app/blobs/${digest}`), { signal: leaver.signal })
      .then(async (response) => await response.arrayBuffer())
      .catch(() => "left");
    const stayed = fetch(daemon.url(`app/blobs/${digest}`));
    setTimeout(() => leaver.abort(), 150);
    expect(await left).toBe("left");
    expect(Buffer.compare(new Uint8Array(await (await stayed).arrayBuffer()), bytes)).toBe(0);
  });

  it("passes tags on", async () => {
    daemon.registry.addImage("app", "v1", [10]);
    const response = await fetch(daemon.url("app/tags/list"));
    expect(await response.json()).toMatchObject({ tags: ["v1"] });
  });

  it("gives lists of tags and referrers that it has when the registry is out of reach", async () => {
    const digest = digestOf(Buffer.from("x"));
    const index = { "content-type": MEDIA_TYPES.ociIndex };
    await using asking = await createTestDaemon({
      resolve: { freshSeconds: 0, staleMaxSeconds: 60 },
    });
    asking.registry.script(({ path }) =>
      path.includes("/referrers/") ? { status: 200, headers: index, body: "{}" } : undefined,
    );
    asking.registry.addImage("app", "v1", [10]);
    const lists = ["app/tags/list?n=5", `app/referrers/${digest}`];
    for (const list of lists) {
      const fresh = await fetch(asking.url(list));
      expect([fresh.status, fresh.headers.get("warning")]).toEqual([200, null]);
      expect(fresh.headers.get("age")).toBe("0");
    }
    asking.registry.script(() => ({ status: 503, headers: { "retry-after": "60" } }));
    for (const list of lists) {
      const stale = await fetch(asking.url(list));
      expect(stale.status).toBe(200);
      expect(stale.headers.get("warning")).toBe('110 shoal "Response is Stale"');
    }
    const other = await fetch(asking.url("app/tags/list?n=6"));
    expect(other.status).toBe(503);
  });

  it("refuses names that are not this machine's, and other sites' pages", async () => {
    const { port } = new URL(daemon.mirror);
    const statusWith = async (headers: Record<string, string>): Promise<number> =>
      await new Promise((resolve, reject) => {
        httpRequest({ host: "127.0.0.1", port, path: "/v2/", headers }, (response) => {
          response.resume();
          resolve(response.statusCode ?? 0);
        })
          .on("error", reject)
          .end();
      });
    expect(await statusWith({ host: "evil.example" })).toBe(403);
    expect(await statusWith({ host: "localhost", origin: "https://evil.example" })).toBe(403);
    expect(await statusWith({ host: "localhost:5055" })).toBe(200);
    expect(await statusWith({ host: "mirror.lan:5055" })).toBe(200);
    expect(await statusWith({ host: "[::1]:5055" })).toBe(200);
  });

  it("answers any request target, and lives on", async () => {
    const targets = fc.oneof(
      fc.constantFrom(
        "//",
        "/\\\\",
        "*",
        "http://[/v2/",
        "//[::1/v2/",
        "/v2/%",
        "/v2//",
        "///@:",
        "/?",
      ),
      fc.webUrl(),
      fc.stringMatching(/^\/[!-~]{0,40}$/),
      fc
        .stringMatching(/^\/v2\/[!-~]{0,20}\/(manifests|blobs|tags|referrers)\/[!-~]{0,20}$/)
        .map((path) => `${path}?ns=${daemon.registry.registry}`),
    );
    await fc.assert(
      fc.asyncProperty(targets, async (target) => {
        const { text } = await raw(target, "Connection: close\r\n");
        expect(text).toMatch(/^HTTP\/1.1 (200|400|403|404|405|503) /);
      }),
      { numRuns: 60 },
    );
  });

  it("answers a TLS hello with HTTP, as containerd needs under skip_verify", async () => {
    const { port } = new URL(daemon.mirror);
    const reply = await new Promise<string>((resolve) => {
      const socket = connect(Number(port), "127.0.0.1");
      socket.on("error", () => undefined);
      socket.on("data", (chunk) => resolve(chunk.toString("latin1")));
      socket.write(Buffer.from("16030100c8010000c40303", "hex"));
    });
    expect(reply).toMatch(/^HTTP\//);
  });
});
