import { randomBytes } from "node:crypto";
import { type Digest, digestOf, MEDIA_TYPES } from "@shoal/oci";
import { createScriptedRegistry } from "@shoal/upstream/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTestDaemon, type TestDaemon } from "./support.ts";

const MISSING = digestOf(Buffer.from("missing"));
const SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws";

/** The parts of a multipart/byteranges body, by their `Content-Range`. RFC 9110, section 14.6. */
function partsOf(contentType: string, body: Buffer): [string, Buffer][] {
  const boundary = /boundary=([0-9a-f]{32})$/.exec(contentType)![1]!;
  const text = body.toString("latin1");
  expect(text.endsWith(`\r\n--${boundary}--\r\n`)).toBe(true);
  return text
    .slice(0, -`\r\n--${boundary}--\r\n`.length)
    .split(new RegExp(`(?:^|\r\n)--${boundary}\r\n`))
    .slice(1)
    .map((part) => {
      const end = part.indexOf("\r\n\r\n");
      const range = /^content-range: (.*)$/im.exec(part.slice(0, end))![1]!.trim();
      return [range, Buffer.from(part.slice(end + 4), "latin1")];
    });
}

describe("the mirror, by the lines of the distribution specification", () => {
  let daemon: TestDaemon;
  let image: ReturnType<TestDaemon["registry"]["addImage"]>;
  let layer: { readonly digest: Digest; readonly bytes: Uint8Array };

  beforeAll(async () => {
    daemon = await createTestDaemon(
      {},
      { registry: await createScriptedRegistry({ referrers: true }) },
    );
    for (const tag of ["v2", "v10", "latest"]) daemon.registry.addImage("team/app", tag, [10]);
    image = daemon.registry.addImage("team/app", "v1", [300_000]);
    layer = image.layers[0]!;
  });
  afterAll(async () => await daemon[Symbol.asyncDispose]());

  const ask = async (path: string, init: RequestInit = {}): Promise<Response> =>
    await fetch(daemon.url(`team/app/${path}`), init);
  const bodyOf = async (response: Response): Promise<Buffer> =>
    Buffer.from(await response.arrayBuffer());
  const expectError = async (response: Response, status: number, code: string): Promise<void> => {
    expect(response.status).toBe(status);
    expect(response.headers.get("content-type")).toBe("application/json");
    expect(await response.json()).toEqual({
      errors: [{ code, message: expect.any(String) as string }],
    });
  };

  describe("Determining Support", () => {
    it("end-1: GET /v2/ is answered with 200", async () => {
      for (const path of ["/v2/", "/v2"])
        for (const method of ["GET", "HEAD"])
          expect((await fetch(`${daemon.mirror}${path}`, { method })).status).toBe(200);
    });
  });

  describe("Pulling manifests", () => {
    it("end-3: GET of a tag gives the manifest's exact bytes with 200", async () => {
      const response = await ask("manifests/v1");
      expect(response.status).toBe(200);
      expect((await bodyOf(response)).equals(image.manifest)).toBe(true);
    });
    it("end-3: GET of a digest gives the manifest's exact bytes with 200", async () => {
      const response = await ask(`manifests/${image.digest}`);
      expect(response.status).toBe(200);
      expect((await bodyOf(response)).equals(image.manifest)).toBe(true);
    });
    it("Docker-Content-Digest is the digest of the body", async () => {
      for (const reference of ["v1", image.digest])
        expect((await ask(`manifests/${reference}`)).headers.get("docker-content-digest")).toBe(
          digestOf(image.manifest),
        );
    });
    it("Content-Type is the manifest's media type, whatever it is", async () => {
      const types = [...Object.values(MEDIA_TYPES), "application/vnd.example.thing.v1+json"];
      for (const [index, mediaType] of types.entries()) {
        const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, manifests: [] }));
        const isImage = mediaType.includes("manifest.v1") || mediaType.includes("manifest.v2");
        const content = isImage
          ? Buffer.from(image.manifest.toString().replace(MEDIA_TYPES.ociManifest, mediaType))
          : bytes;
        daemon.registry.addManifest("team/types", content, mediaType, `t${index}`);
        const response = await fetch(daemon.url(`team/types/manifests/t${index}`));
        expect(response.headers.get("content-type")).toBe(mediaType);
        expect((await bodyOf(response)).equals(content)).toBe(true);
      }
    });
    it("a manifest that is not found is answered with 404 MANIFEST_UNKNOWN", async () => {
      await expectError(await ask("manifests/none"), 404, "MANIFEST_UNKNOWN");
      await expectError(await ask(`manifests/${MISSING}`), 404, "MANIFEST_UNKNOWN");
    });
    it("a manifest named by sha512 is verified by it, and found again", async () => {
      const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [] }));
      const digest = digestOf(bytes, "sha512");
      const headers = { "content-type": MEDIA_TYPES.ociIndex };
      daemon.registry.script(({ path }) =>
        path.includes(digest) ? { status: 200, headers, body: bytes } : undefined,
      );
      for (const times of [1, 2]) {
        const response = await ask(`manifests/${digest}`);
        expect([times, response.status]).toEqual([times, 200]);
        expect(response.headers.get("docker-content-digest")).toBe(digest);
        expect((await bodyOf(response)).equals(bytes)).toBe(true);
        daemon.registry.script(() => undefined);
      }
    });
    it("a manifest of schema 1 is passed through, named by its payload and not kept", async () => {
      const payload = '{\n   "schemaVersion": 1,\n   "name": "team/app"\n}';
      const at = payload.indexOf("\n}");
      const part = { formatLength: at, formatTail: Buffer.from("\n}").toString("base64url") };
      const header = Buffer.from(JSON.stringify(part)).toString("base64url");
      const body = `${payload.slice(0, at)},\n   "signatures": [{"protected":"${header}"}]\n}`;
      const digest = digestOf(Buffer.from(payload));
      daemon.registry.script(({ path }) =>
        path.includes("/manifests/old") || path.includes(digest)
          ? { status: 200, headers: { "content-type": SCHEMA1 }, body }
          : undefined,
      );
      const asked = (): number =>
        daemon.registry.requests.filter(({ path }) => path.endsWith("/manifests/old")).length;
      for (const times of [1, 2]) {
        for (const reference of ["old", digest]) {
          const response = await ask(`manifests/${reference}`);
          expect(response.headers.get("content-type")).toBe(SCHEMA1);
          expect(response.headers.get("docker-content-digest")).toBe(digest);
          expect(await response.text()).toBe(body);
        }
        expect(asked()).toBe(times);
      }
      daemon.registry.script(() => ({ status: 200, headers: { "content-type": SCHEMA1 }, body }));
      expect((await ask(`manifests/${MISSING}`)).status).toBe(503);
      daemon.registry.script(() => undefined);
    });
  });

  describe("Pulling blobs", () => {
    it("end-2: GET of a blob gives its bytes with 200", async () => {
      const response = await ask(`blobs/${layer.digest}`);
      expect(response.status).toBe(200);
      expect(response.headers.get("content-length")).toBe("300000");
      expect(response.headers.get("docker-content-digest")).toBe(layer.digest);
      expect((await bodyOf(response)).equals(layer.bytes)).toBe(true);
    });
    it("a blob that is not found is answered with 404 BLOB_UNKNOWN", async () => {
      await expectError(await ask(`blobs/${MISSING}`), 404, "BLOB_UNKNOWN");
    });
    it("a blob named by sha512 is verified by it, whole and by range", async () => {
      const bytes = randomBytes(200_000);
      const digest = daemon.registry.addBlob(bytes, "sha512");
      expect((await ask(`blobs/${digest}`, { method: "HEAD" })).headers.get("content-length")).toBe(
        "200000",
      );
      const part = await ask(`blobs/${digest}`, { headers: { range: "bytes=10-19" } });
      expect((await bodyOf(part)).equals(bytes.subarray(10, 20))).toBe(true);
      expect((await bodyOf(await ask(`blobs/${digest}`))).equals(bytes)).toBe(true);
      const wrong = digestOf(bytes.subarray(1), "sha512");
      daemon.registry.script(({ path }) =>
        path.includes(wrong) ? { status: 200, body: bytes } : undefined,
      );
      await expect(ask(`blobs/${wrong}`).then(bodyOf)).rejects.toThrow();
      daemon.registry.script(() => undefined);
    });
    it.each([
      ["500-1499", 500, 1500],
      ["500-", 500, 2048],
      ["-500", 1548, 2048],
      ["-5000", 0, 2048],
      ["2000-5000", 2000, 2048],
      ["0-0", 0, 1],
    ])(
      "Range bytes=%s of 2048 bytes is answered with 206 and Content-Range",
      async (range, start, end) => {
        const bytes = randomBytes(2048);
        const digest = daemon.registry.addBlob(bytes);
        const response = await ask(`blobs/${digest}`, { headers: { range: `bytes=${range}` } });
        expect(response.status).toBe(206);
        expect(response.headers.get("content-range")).toBe(`bytes ${start}-${end - 1}/2048`);
        expect(response.headers.get("content-length")).toBe(String(end - start));
        expect((await bodyOf(response)).equals(bytes.subarray(start, end))).toBe(true);
      },
    );
    it.each(["500-0", "5000-10000", "2048-", "-0"])(
      "Range bytes=%s of 2048 bytes is answered with 416",
      async (range) => {
        const digest = daemon.registry.addBlob(randomBytes(2048));
        const response = await ask(`blobs/${digest}`, { headers: { range: `bytes=${range}` } });
        expect(response.status).toBe(416);
        expect(response.headers.get("content-range")).toBe("bytes */2048");
      },
    );
    it.each(["items=0-1", "bytes=a-b", "bytes=", "bytes=0-1,x"])(
      "Range %s is no range, and is answered with everything",
      async (range) => {
        const response = await ask(`blobs/${layer.digest}`, { headers: { range } });
        expect(response.status).toBe(200);
        expect((await bodyOf(response)).equals(layer.bytes)).toBe(true);
      },
    );
    it("several ranges, of zstd:chunked and eStargz clients, are answered in the order asked", async () => {
      const bytes = randomBytes(3_000_000);
      const digest = daemon.registry.addBlob(bytes);
      const ranges = [
        [2_999_900, 3_000_000],
        [0, 100],
        [1_000_000, 1_600_000],
      ] as const;
      const range = `bytes=-100,${ranges
        .slice(1)
        .map(([start, end]) => `${start}-${end - 1}`)
        .join(", ")}`;
      // Once while it arrives, once out of the store.
      for (let times = 0; times < 2; times += 1) {
        const response = await ask(`blobs/${digest}`, { headers: { range } });
        expect(response.status).toBe(206);
        const body = await bodyOf(response);
        expect(response.headers.get("content-length")).toBe(String(body.length));
        const parts = partsOf(response.headers.get("content-type")!, body);
        expect(parts.map(([where]) => where)).toEqual(
          ranges.map(([start, end]) => `bytes ${start}-${end - 1}/3000000`),
        );
        for (const [index, [start, end]] of ranges.entries())
          expect(parts[index]![1].equals(bytes.subarray(start, end))).toBe(true);
      }
    });
    it("1,000 ranges are answered, of those out of the blob nothing", async () => {
      const wanted = Array.from({ length: 1000 }, (_, index) => index * 300);
      const range = `bytes=${wanted.map((start) => `${start}-${start + 9}`).join(",")},900000-900009`;
      const response = await ask(`blobs/${layer.digest}`, { headers: { range } });
      expect(response.status).toBe(206);
      const parts = partsOf(response.headers.get("content-type")!, await bodyOf(response));
      expect(parts).toHaveLength(1000);
      for (const [index, start] of wanted.entries())
        expect(parts[index]![1].equals(layer.bytes.subarray(start, start + 10))).toBe(true);
    });
    it("several ranges of wrong bytes never end as if they were whole", async () => {
      const digest = digestOf(randomBytes(10));
      const wrong = randomBytes(300_000);
      daemon.registry.script(({ path }) =>
        path.includes(digest) ? { status: 200, body: wrong } : undefined,
      );
      const init = { headers: { range: "bytes=0-99,299000-299099" } };
      await expect(ask(`blobs/${digest}`, init).then(bodyOf)).rejects.toThrow();
      daemon.registry.script(() => undefined);
    });
  });

  describe("Checking if content exists in the registry", () => {
    it("end-3: HEAD of a manifest tells size, type and digest, without a body", async () => {
      for (const reference of ["v1", image.digest]) {
        const response = await ask(`manifests/${reference}`, { method: "HEAD" });
        expect(response.status).toBe(200);
        expect(response.headers.get("content-length")).toBe(String(image.manifest.length));
        expect(response.headers.get("content-type")).toBe(MEDIA_TYPES.ociManifest);
        expect(response.headers.get("docker-content-digest")).toBe(image.digest);
        expect((await bodyOf(response)).length).toBe(0);
      }
    });
    it("end-2: HEAD of a blob tells its size, without a body", async () => {
      const response = await ask(`blobs/${layer.digest}`, { method: "HEAD" });
      expect(response.status).toBe(200);
      expect(response.headers.get("content-length")).toBe("300000");
      expect(response.headers.get("accept-ranges")).toBe("bytes");
      expect((await bodyOf(response)).length).toBe(0);
    });
    it("HEAD of what is not found is answered with 404, without a body", async () => {
      for (const path of ["manifests/none", `manifests/${MISSING}`, `blobs/${MISSING}`]) {
        const response = await ask(path, { method: "HEAD" });
        expect(response.status).toBe(404);
        expect((await bodyOf(response)).length).toBe(0);
      }
    });
  });

  describe("Listing Tags", () => {
    const tagsOf = async (response: Response): Promise<unknown> => {
      expect(response.status).toBe(200);
      return ((await response.json()) as { tags: unknown }).tags;
    };
    it("end-8a: all tags are given in lexical order, with the name", async () => {
      const response = await ask("tags/list");
      expect(await response.json()).toEqual({
        name: "team/app",
        tags: ["latest", "v1", "v10", "v2"],
      });
      expect(response.headers.get("link")).toBeNull();
    });
    it("end-8b: n limits them, and n=0 gives none", async () => {
      expect(await tagsOf(await ask("tags/list?n=2"))).toEqual(["latest", "v1"]);
      const none = await ask("tags/list?n=0");
      expect(none.headers.get("link")).toBeNull();
      expect(await tagsOf(none)).toEqual([]);
    });
    it("end-8b: last begins after a tag", async () => {
      expect(await tagsOf(await ask("tags/list?n=2&last=v1"))).toEqual(["v10", "v2"]);
    });
    it.each([
      ["by ns=", () => daemon.url("team/app/tags/list?n=1")],
      [
        "by its path",
        () =>
          `${daemon.mirror}/v2/${daemon.registry.registry.replace(":", "_")}/team/app/tags/list?n=1`,
      ],
    ])("Link leads to the next page where the registry is named %s", async (_how, first) => {
      const all: unknown[] = [];
      for (let next: string | undefined = first(); next !== undefined; ) {
        const response = await fetch(next);
        all.push(await tagsOf(response));
        const link = response.headers.get("link");
        const target: string | undefined = link?.match(/^<([^>]+)>; rel="next"$/)?.[1];
        next = target === undefined ? undefined : new URL(target, daemon.mirror).href;
      }
      expect(all).toEqual([["latest"], ["v1"], ["v10"], ["v2"]]);
    });
    it("tags of a repository that is not known are answered with 404 NAME_UNKNOWN", async () => {
      daemon.registry.script(({ path }) => (path.includes("/none/") ? { status: 404 } : undefined));
      await expectError(await fetch(daemon.url("none/tags/list")), 404, "NAME_UNKNOWN");
      daemon.registry.script(() => undefined);
    });
  });

  describe("Listing Referrers", () => {
    const attach = (artifactType: string): Digest => {
      const subject = {
        mediaType: MEDIA_TYPES.ociManifest,
        digest: image.digest,
        size: image.manifest.length,
      };
      const empty = { mediaType: "application/vnd.oci.empty.v1+json", size: 2 };
      const config = { ...empty, digest: daemon.registry.addBlob(Buffer.from("{}")) };
      const manifest = { schemaVersion: 2, artifactType, config, layers: [config], subject };
      const bytes = Buffer.from(JSON.stringify(manifest));
      return daemon.registry.addManifest("team/app", bytes, MEDIA_TYPES.ociManifest);
    };
    const SBOM = "application/spdx+json";
    let sbom: Digest;
    let signature: Digest;
    beforeAll(() => {
      sbom = attach(SBOM);
      signature = attach("application/vnd.cncf.notary.signature");
    });
    const digestsOf = async (response: Response): Promise<string[]> => {
      expect(response.status).toBe(200);
      expect(response.headers.get("content-type")).toBe(MEDIA_TYPES.ociIndex);
      return ((await response.json()) as { manifests: { digest: string }[] }).manifests.map(
        ({ digest }) => digest,
      );
    };
    it("end-12a: all referrers of a manifest are given as an OCI index", async () => {
      const response = await ask(`referrers/${image.digest}`);
      expect(response.headers.get("oci-filters-applied")).toBeNull();
      expect(await digestsOf(response)).toEqual([sbom, signature]);
    });
    it("a manifest without referrers has an empty index", async () => {
      expect(await digestsOf(await ask(`referrers/${MISSING}`))).toEqual([]);
    });
    it("end-12b: artifactType filters, and OCI-Filters-Applied says so", async () => {
      const response = await ask(
        `referrers/${image.digest}?artifactType=${encodeURIComponent(SBOM)}`,
      );
      expect(response.headers.get("oci-filters-applied")).toBe("artifactType");
      expect(await digestsOf(response)).toEqual([sbom]);
    });
    it("Link leads to the next page", async () => {
      daemon.registry.script(({ path }) =>
        path.includes("/referrers/")
          ? { headers: { link: `<${path}&page=2>; rel="next"` } }
          : undefined,
      );
      const response = await ask(`referrers/${image.digest}?artifactType=a`);
      expect(response.headers.get("link")).toBe(
        `</v2/team/app/referrers/${image.digest}?artifactType=a&page=2&ns=${encodeURIComponent(daemon.registry.registry)}>; rel="next"`,
      );
      daemon.registry.script(() => undefined);
    });
    it("referrers are pulled like any manifest", async () => {
      expect((await ask(`manifests/${sbom}`)).status).toBe(200);
    });
    it("Unavailable Referrers API: a registry's 404 is passed on, so that clients ask for the tag", async () => {
      await using old = await createTestDaemon();
      const { digest } = old.registry.addImage("team/app", "v1", [10]);
      const fallback = digest.replace(":", "-");
      const index = Buffer.from('{"schemaVersion":2,"manifests":[]}');
      old.registry.addManifest("team/app", index, MEDIA_TYPES.ociIndex, fallback);
      await expectError(await fetch(old.url(`team/app/referrers/${digest}`)), 404, "NAME_UNKNOWN");
      expect((await fetch(old.url(`team/app/manifests/${fallback}`))).status).toBe(200);
    });
  });

  describe("Pushing and content management are refused with 405 UNSUPPORTED", () => {
    it.each([
      ["end-4a", "POST", "blobs/uploads/"],
      ["end-4b", "POST", `blobs/uploads/?digest=${MISSING}`],
      ["end-5", "PATCH", "blobs/uploads/1"],
      ["end-6", "PUT", `blobs/uploads/1?digest=${MISSING}`],
      ["end-7", "PUT", "manifests/v1"],
      ["end-9", "DELETE", "manifests/v1"],
      ["end-10", "DELETE", `blobs/${MISSING}`],
      ["end-11", "POST", `blobs/uploads/?mount=${MISSING}&from=other`],
      ["end-13", "GET", "blobs/uploads/1"],
    ])("%s: %s %s", async (_end, method, path) => {
      const before = daemon.registry.requests.length;
      await expectError(await ask(path, { method }), 405, "UNSUPPORTED");
      expect(daemon.registry.requests.length).toBe(before);
    });
  });
});
