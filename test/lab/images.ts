import { randomBytes } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { digestHex, digestOf, MEDIA_TYPES } from "@shoal/oci";
import type { Place } from "./lan.ts";
import { run } from "./run.ts";

const LAYER = "application/vnd.oci.image.layer.v1.tar";
const DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar";
const CONFIG = "application/vnd.oci.image.config.v1+json";
const DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json";
const BLOCK = 512;

/** A piece of content with its descriptor. */
export interface Content {
  readonly bytes: Uint8Array;
  readonly descriptor: {
    readonly mediaType: string;
    readonly digest: string;
    readonly size: number;
  };
}

/** An image with everything in it, to be pushed. */
export interface TestImage {
  readonly manifest: Content;
  readonly blobs: readonly Content[];
  readonly children: readonly TestImage[];
}

function content(mediaType: string, bytes: Uint8Array): Content {
  return { bytes, descriptor: { mediaType, digest: digestOf(bytes), size: bytes.length } };
}

function json(mediaType: string, value: unknown): Content {
  return content(mediaType, new Uint8Array(Buffer.from(JSON.stringify(value))));
}

/**
 * A layer that engines can unpack: a tar of exactly `sizeBytes` with one file of random bytes, and the two
 * blocks of a tar's end where there is room for them. Below the 1,024 bytes of the smallest one it is what the
 * size says, which is no tar.
 */
export function createLayer(sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  if (sizeBytes < 2 * BLOCK) return bytes;
  const bodyBytes = sizeBytes < 4 * BLOCK ? BLOCK : sizeBytes - 3 * BLOCK;
  const name = `file-${randomBytes(6).toString("hex")}`;
  const header = Buffer.alloc(BLOCK);
  header.write(name, 0, "latin1");
  header.write("0000644\0", 100, "latin1");
  header.write("0000000\0", 108, "latin1");
  header.write("0000000\0", 116, "latin1");
  header.write(`${bodyBytes.toString(8).padStart(11, "0")}\0`, 124, "latin1");
  header.write("00000000000\0", 136, "latin1");
  header.write("        ", 148, "latin1");
  header.write("0", 156, "latin1");
  header.write("ustar\0", 257, "latin1");
  header.write("00", 263, "latin1");
  let sum = 0;
  for (const byte of header) sum += byte;
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  bytes.set(header, 0);
  for (let at = 0; at < bodyBytes; at += 65_536)
    bytes.set(randomBytes(Math.min(65_536, bodyBytes - at)), BLOCK + at);
  return bytes;
}

export interface ImageOptions {
  readonly architecture?: string;
  /** Docker's media types in place of OCI's. */
  readonly docker?: boolean;
}

/** An image of the given layers: sizes for fresh random ones, or bytes to share with another image. */
export function createImage(
  layers: readonly (number | Uint8Array)[],
  options: ImageOptions = {},
): TestImage {
  const { architecture = "amd64", docker = false } = options;
  const contents = layers.map((layer) =>
    content(docker ? DOCKER_LAYER : LAYER, typeof layer === "number" ? createLayer(layer) : layer),
  );
  const configuration = json(docker ? DOCKER_CONFIG : CONFIG, {
    architecture,
    os: "linux",
    created: "2026-01-01T00:00:00Z",
    config: { Labels: { fresh: randomBytes(8).toString("hex") } },
    rootfs: { type: "layers", diff_ids: contents.map(({ descriptor }) => descriptor.digest) },
    history: contents.map(() => ({ created: "2026-01-01T00:00:00Z", created_by: "lab" })),
  });
  const mediaType = docker ? MEDIA_TYPES.dockerManifest : MEDIA_TYPES.ociManifest;
  const manifest = json(mediaType, {
    schemaVersion: 2,
    mediaType,
    config: configuration.descriptor,
    layers: contents.map(({ descriptor }) => descriptor),
  });
  return { manifest, blobs: [configuration, ...contents], children: [] };
}

/** An index of images, one an architecture. */
export function createIndex(images: Readonly<Record<string, TestImage>>): TestImage {
  const manifest = json(MEDIA_TYPES.ociIndex, {
    schemaVersion: 2,
    mediaType: MEDIA_TYPES.ociIndex,
    manifests: Object.entries(images).map(([architecture, image]) => ({
      ...image.manifest.descriptor,
      platform: { os: "linux", architecture },
    })),
  });
  return { manifest, blobs: [], children: Object.values(images) };
}

/** Bytes of all layers and the configuration. */
export function imageBytes(image: TestImage): number {
  return image.blobs.reduce((sum, { bytes }) => sum + bytes.length, 0);
}

/** Pushes from the registry's own place, so that the uplink counts nothing of it. */
export async function pushImage(
  place: Place,
  url: string,
  name: string,
  tag: string,
  image: TestImage,
  folder: string,
  caFile?: string,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  const trust = caFile === undefined ? [] : ["--cacert", caFile];
  const put = async (argv: readonly string[]): Promise<string> =>
    await run(place.within(["curl", "-fsS", ...trust, ...argv]));
  const file = async ({ bytes, descriptor }: Content): Promise<string> => {
    const path = join(folder, digestHex(descriptor.digest as never));
    await writeFile(path, bytes);
    return path;
  };
  const pushOne = async (part: TestImage, reference: string): Promise<void> => {
    for (const child of part.children) await pushOne(child, child.manifest.descriptor.digest);
    for (const blob of part.blobs) {
      const headers = await put(["-i", "-X", "POST", `${url}/v2/${name}/blobs/uploads/`]);
      const location = /^location: *(\S+)/im.exec(headers)?.[1] ?? "";
      const target = new URL(location, `${url}/v2/${name}/blobs/uploads/`);
      target.searchParams.set("digest", blob.descriptor.digest);
      await put([
        "-X",
        "PUT",
        "-H",
        "content-type: application/octet-stream",
        "--data-binary",
        `@${await file(blob)}`,
        target.href,
      ]);
    }
    const { mediaType } = part.manifest.descriptor;
    await put([
      "-X",
      "PUT",
      "-H",
      `content-type: ${mediaType}`,
      "--data-binary",
      `@${await file(part.manifest)}`,
      `${url}/v2/${name}/manifests/${reference}`,
    ]);
  };
  await pushOne(image, tag);
}
