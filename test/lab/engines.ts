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

/** Those that differ in how they pull. */
export const ENGINES = [
  "skopeo",
  "podman",
  "containerd",
  "dockerd",
] as const satisfies readonly EngineName[];

/** Those whose images can be looked into. */
export const OPEN_ENGINES = [...ENGINES, "buildah"] as const satisfies readonly EngineName[];

export async function startEngine<Name extends EngineName>(
  name: Name,
  init: EngineInit,
): Promise<Awaited<ReturnType<(typeof STARTS)[Name]>>> {
  await mkdir(init.folder, { recursive: true });
  const start: (init: EngineInit) => Promise<Engine> = STARTS[name];
  return (await start(init)) as Awaited<ReturnType<(typeof STARTS)[Name]>>;
}
