import { endianness } from "node:os";
import { CodedError } from "@shoal/runtime";
import type { Descriptor, Platform } from "./types.ts";

const ARCHITECTURES: ReadonlyMap<string, readonly [string, string?]> = new Map(
  Object.entries({
    x86_64: ["amd64"],
    "x86-64": ["amd64"],
    x64: ["amd64"],
    aarch64: ["arm64"],
    armhf: ["arm", "v7"],
    armel: ["arm", "v6"],
    i386: ["386"],
    ia32: ["386"],
    x86: ["386"],
    ppc64el: ["ppc64le"],
    mipsel: ["mipsle"],
  } satisfies Record<string, [string, string?]>),
);

/** Parses `os/architecture[/variant]`, with the names that people use for architectures. @throws ERR_PLATFORM_INVALID */
export function parsePlatform(text: string): Platform {
  const parts = text.toLowerCase().split("/");
  const [os, architecture, variant] = parts;
  if (parts.length > 3 || !parts.every((part) => /^[a-z0-9._-]{1,64}$/.test(part)) || !architecture)
    throw new CodedError(
      "ERR_PLATFORM_INVALID",
      `not a platform: ${JSON.stringify(text.slice(0, 80))}; write os/architecture, for example linux/arm64`,
    );
  return normalise({ os: os!, architecture, ...(variant === undefined ? {} : { variant }) });
}

export function formatPlatform({ os, architecture, variant }: Platform): string {
  return variant === undefined ? `${os}/${architecture}` : `${os}/${architecture}/${variant}`;
}

/** The platform of images for this machine. */
export function hostPlatform(): Platform {
  const os = process.platform === "win32" ? "windows" : "linux";
  // Node names both byte orders ppc64.
  const littlePower = process.arch === "ppc64" && endianness() === "LE";
  const architecture = process.arch === "arm" ? "armhf" : process.arch;
  return normalise({ os, architecture: littlePower ? "ppc64le" : architecture });
}

/**
 * The manifest of an index that fits the platform best: the exact variant, else the next lower one, else
 * the 32-bit architecture that the machine runs as well. Attestations, which say `unknown/unknown`, are
 * never chosen. As containerd's platforms package does.
 */
export function selectPlatform(
  manifests: readonly Descriptor[],
  platform: Platform,
): Descriptor | undefined {
  const wanted = normalise(platform);
  let best: Descriptor | undefined;
  let bestRank = -1;
  for (const descriptor of manifests) {
    const rank =
      descriptor.platform === undefined ? -1 : fit(normalise(descriptor.platform), wanted);
    if (rank <= bestRank) continue;
    best = descriptor;
    bestRank = rank;
  }
  return best;
}

/** The higher the better; -1 does not fit. */
function fit(offered: Platform, wanted: Platform): number {
  if (offered.os !== wanted.os || offered.os === "unknown") return -1;
  const variant = variantNumber(offered);
  if (offered.architecture === wanted.architecture)
    return variant > variantNumber(wanted) ? -1 : 1000 + variant;
  if (offered.architecture !== NARROWER.get(wanted.architecture)) return -1;
  return offered.architecture === "arm" && variant > 8 ? -1 : variant;
}

const NARROWER: ReadonlyMap<string, string> = new Map([
  ["amd64", "386"],
  ["arm64", "arm"],
]);

function variantNumber({ architecture, variant }: Platform): number {
  const fallback = architecture === "arm" ? "v7" : architecture === "arm64" ? "v8" : "v1";
  return Number(/^v([0-9]{1,2})/.exec(variant ?? fallback)?.[1] ?? 0);
}

function normalise(platform: Platform): Platform {
  const named = platform.architecture.toLowerCase();
  const [architecture, implied] = ARCHITECTURES.get(named) ?? [named];
  const { variant: given, ...rest } = platform;
  const variant = given?.replace(/^(?=[0-9])/, "v") ?? implied;
  const base = variant === BASE_VARIANT.get(architecture);
  return {
    ...rest,
    os: platform.os.toLowerCase(),
    architecture,
    ...(variant === undefined || base ? {} : { variant }),
  };
}

/** The variants that go without saying. */
const BASE_VARIANT: ReadonlyMap<string, string> = new Map([
  ["amd64", "v1"],
  ["arm64", "v8"],
]);

/** A descriptor's platform as it stands in the index; fields of the wrong type are left out. */
export function platformOf(value: Readonly<Record<string, unknown>>): Platform {
  const text = (field: string): string | undefined => {
    const found = value[field];
    return typeof found === "string" && found !== "" ? found : undefined;
  };
  const variant = text("variant");
  const version = text("os.version");
  const features = value["os.features"];
  return {
    architecture: text("architecture") ?? "unknown",
    os: text("os") ?? "unknown",
    ...(variant === undefined ? {} : { variant }),
    ...(version === undefined ? {} : { "os.version": version }),
    ...(Array.isArray(features)
      ? { "os.features": features.filter((feature) => typeof feature === "string") }
      : {}),
  };
}
