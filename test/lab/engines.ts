import { mkdir } from "node:fs/promises";
import { startContainerd, startCri } from "./containerd.ts";
import { createBuildah, createPodman, createSkopeo } from "./containers.ts";
import { startBuildkit, startDockerd } from "./dockerd.ts";
import type { Engine, EngineInit } from "./engine.ts";

const STARTS = {
  skopeo: createSkopeo,
  podman: createPodman,
  buildah: createBuildah,
  containerd: startContainerd,
  cri: startCri,
  dockerd: startDockerd,
  buildkit: startBuildkit,
} as const satisfies Readonly<Record<string, (init: EngineInit) => Promise<Engine>>>;

export type EngineName = keyof typeof STARTS;

/** One of each kind. */
export const ENGINES = [
  "skopeo",
  "podman",
  "containerd",
  "dockerd",
] as const satisfies readonly EngineName[];

export async function startEngine(name: EngineName, init: EngineInit): Promise<Engine> {
  await mkdir(init.folder, { recursive: true });
  return await STARTS[name](init);
}
