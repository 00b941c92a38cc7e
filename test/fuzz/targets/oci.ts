import {
  createDigester,
  formatPlatform,
  formatReference,
  isSchema1,
  parseDigest,
  parseDistributionPath,
  parseManifest,
  parsePlatform,
  parseRange,
  parseReference,
  parseRegistryHost,
  resolveNaming,
  schema1Digest,
  selectPlatform,
} from "@shoal/oci";
import { type FuzzTarget, promise, textTarget } from "../target.ts";

const HEX = "0123456789abcdef".repeat(4);
const descriptor = {
  mediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
  digest: `sha256:${HEX}`,
  size: 7,
};
const manifest = {
  schemaVersion: 2,
  mediaType: "application/vnd.oci.image.manifest.v1+json",
  config: { ...descriptor, mediaType: "application/vnd.oci.image.config.v1+json" },
  layers: [descriptor, { ...descriptor, urls: ["https://example.net/x"], annotations: { a: "b" } }],
  subject: descriptor,
};
const index = {
  schemaVersion: 2,
  mediaType: "application/vnd.oci.image.index.v1+json",
  manifests: [
    {
      ...descriptor,
      platform: { os: "linux", architecture: "arm", variant: "v7", "os.features": ["a"] },
    },
  ],
};
const schema1 = {
  schemaVersion: 1,
  fsLayers: [{ blobSum: descriptor.digest }],
  signatures: [
    { protected: Buffer.from('{"formatLength":12,"formatTail":"fQ"}').toString("base64url") },
  ],
};
const NAMES = [
  "docker.io",
  "localhost:5000",
  "/v2/",
  "ns=",
  "library/",
  "%3a",
  "%2f",
  "sha512:",
  "@",
  "[::1]",
];

export const OCI_TARGETS: readonly FuzzTarget[] = [
  textTarget({
    name: "oci/reference",
    examples: [
      "alpine",
      "ghcr.io/a/b:v1",
      "localhost:5000/x@sha256:" + HEX,
      "[::1]:5000/a/b:1@sha256:" + HEX,
    ],
    dictionary: NAMES,
    mostBytes: 4096,
    refuses: ["ERR_REFERENCE_INVALID"],
    parse(text) {
      const reference = parseReference(text);
      const written = formatReference(reference);
      promise(
        formatReference(parseReference(written)) === written,
        "a reference reads back as it is written",
      );
      promise(!/\.\.|[\s\\%]/.test(reference.repository.name), "a name leads nowhere else");
    },
  }),
  textTarget({
    name: "oci/digest",
    examples: [`sha256:${HEX}`, `sha512:${HEX}${HEX}`],
    dictionary: ["sha256:", "sha512:"],
    mostBytes: 4096,
    refuses: ["ERR_DIGEST_INVALID"],
    parse: (text) =>
      promise(
        /^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/.test(
          createDigester(parseDigest(text)) && text,
        ),
        "a digest is hex",
      ),
  }),
  textTarget({
    name: "oci/names",
    examples: ["ghcr.io", "registry.lab:5000", "[fd00::1]:5000", "127.0.0.1"],
    dictionary: NAMES,
    mostBytes: 4096,
    refuses: ["ERR_REGISTRY_INVALID"],
    parse(text) {
      const host = parseRegistryHost(text);
      // Some, such as 1.2.3.4.5, are no host for URLs: the upstream refuses those.
      const url = URL.parse(`https://${host}`);
      promise(
        url === null || (url.pathname === "/" && url.username === ""),
        "a registry is no more than a host",
      );
    },
  }),
  textTarget({
    name: "oci/naming",
    examples: ["library/alpine ghcr.io", "registry.lab_5000/a/b ", "ghcr.io/a/b "],
    dictionary: NAMES,
    mostBytes: 4096,
    refuses: ["ERR_REGISTRY_INVALID", "ERR_REPOSITORY_INVALID"],
    parse(text) {
      const [name = "", ns] = text.split(" ", 2);
      resolveNaming(name, ns);
    },
  }),
  textTarget({
    name: "oci/range",
    examples: ["bytes=0-99", "bytes=-5", "bytes=5-", "bytes=0-1,3-4,90-"],
    dictionary: ["bytes=", "0-", "-0", "99999999999999999999", "0-0,"],
    mostBytes: 64 * 1024,
    parse(text) {
      const ranges = parseRange(text, 100);
      if (typeof ranges === "object")
        for (const { start, end } of ranges)
          promise(start >= 0 && start < end && end <= 100, "a range lies within the body");
    },
  }),
  textTarget({
    name: "oci/path",
    examples: [
      "/v2/",
      "/v2/a/b/manifests/v1",
      `/v2/a/blobs/sha256:${HEX}`,
      "/v2/a/tags/list",
      `/v2/a/referrers/sha256%3a${HEX}`,
      "/v2/a/blobs/uploads/1",
    ],
    dictionary: [...NAMES, "/manifests/", "/blobs/", "/tags/list", "/uploads/", "%2e%2e"],
    mostBytes: 64 * 1024,
    parse(text) {
      const asked = parseDistributionPath(text);
      if (asked !== undefined && asked.kind !== "base")
        promise(!/\.\.\/|\/\.\.|[%\\]/.test(asked.name), "a name leads nowhere else");
    },
  }),
  ...(
    [
      ["manifest", manifest],
      ["index", index],
    ] as const
  ).map(([name, value]) =>
    textTarget({
      name: `oci/${name}`,
      examples: [JSON.stringify(value)],
      values: [value],
      dictionary: ['"manifests":[', '"layers":[', '"size":', '"digest":', '"Config":'],
      mostBytes: 256 * 1024,
      refuses: ["ERR_MANIFEST_INVALID", "ERR_MANIFEST_TOO_LARGE"],
      parse(text) {
        const parsed = parseManifest(Buffer.from(text), value.mediaType);
        for (const { digest, size } of [...parsed.blobs, ...parsed.manifests]) {
          parseDigest(digest);
          promise(Number.isSafeInteger(size) && size >= 0, "a size is a count");
        }
        selectPlatform(parsed.manifests, { os: "linux", architecture: "arm64" });
      },
    }),
  ),
  textTarget({
    name: "oci/schema1",
    examples: [JSON.stringify(schema1)],
    values: [schema1],
    dictionary: ['"protected":"', '"signatures":['],
    mostBytes: 256 * 1024,
    parse: (text) => isSchema1(text) || schema1Digest(Buffer.from(text)),
  }),
  textTarget({
    name: "oci/platform",
    examples: ["linux/amd64", "linux/arm/v7", "windows/x86_64"],
    dictionary: ["linux/", "/v8"],
    mostBytes: 4096,
    refuses: ["ERR_PLATFORM_INVALID"],
    parse: (text) => formatPlatform(parsePlatform(text)),
  }),
];
