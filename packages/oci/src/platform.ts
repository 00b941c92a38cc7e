import { CodedError } from "@shoal/runtime";
import type { Descriptor, Platform } from "./types.ts";

const ARCHITECTURES: Readonly<Record<string, readonly [string, string?]>> = {
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
};

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
  return normalise({ os, architecture: process.arch === "arm" ? "armhf" : process.arch });
}

/**
 * The manifest of an index that fits the platform best: the exact variant, else the next lower one.
 * Attestations, which say `unknown/unknown`, are never chosen. As containerd's platforms package does.
 */
export function selectPlatform(
  manifests: readonly Descriptor[],
  platform: Platform,
): Descriptor | undefined {
  const wanted = normalise(platform);
  let best: Descriptor | undefined;
  let bestVariant = -1;
  for (const descriptor of manifests) {
    if (descriptor.platform === undefined) continue;
    const offered = normalise(descriptor.platform);
    if (offered.os !== wanted.os || offered.architecture !== wanted.architecture) continue;
    const variant = variantNumber(offered);
    if (variant > variantNumber(wanted) || variant <= bestVariant) continue;
    best = descriptor;
    bestVariant = variant;
  }
  return best;
}

function variantNumber({ architecture, variant }: Platform): number {
  const fallback = architecture === "arm" ? "v7" : architecture === "arm64" ? "v8" : "v1";
  return Number(/^v([0-9]{1,3})/.exec(variant ?? fallback)?.[1] ?? 0);
}

function normalise(platform: Platform): Platform {
  const [architecture, variant] = ARCHITECTURES[platform.architecture] ?? [platform.architecture];
  const given = platform.variant ?? variant;
  const implied = architecture === "arm64" && given === "v8";
  const { variant: _dropped, ...rest } = platform;
  return { ...rest, architecture, ...(given === undefined || implied ? {} : { variant: given }) };
}

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
