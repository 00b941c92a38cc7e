import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { answers, type Engine, type EngineInit, engineReady, placeWith } from "./engine.ts";
import { type Running, start } from "./processes.ts";
import { run } from "./run.ts";

/** Debian's own, beside dockerd; a newer one on the PATH may build by a plugin that is not there. */
const DOCKER = "/usr/bin/docker";

/** dockerd's classic store has mirrors for docker.io alone: through one, the images are named as Docker Hub's. */
export async function startDockerd(init: EngineInit): Promise<Engine> {
  const { docker, daemon } = await startDaemon(init);
  return {
    name: "dockerd",
    async pull(reference) {
      const name = nameOf(init, reference);
      await run([...docker, "pull", "--quiet", name]);
      return (await run([...docker, "image", "inspect", "--format", "{{.Id}}", name])).trim();
    },
    [Symbol.asyncDispose]: async () => await daemon[Symbol.asyncDispose](),
  };
}

/** The BuildKit inside of dockerd, which pulls an image by building one that adds nothing to it. */
export async function startBuildkit(init: EngineInit): Promise<Engine> {
  const { docker, daemon } = await startDaemon(init);
  const context = join(init.folder, "context");
  await mkdir(context);
  const env = { ...process.env, DOCKER_BUILDKIT: "1" };
  return {
    name: "buildkit",
    async pull(reference) {
      await writeFile(join(context, "Dockerfile"), `FROM ${nameOf(init, reference)}\n`);
      return (await run([...docker, "build", "--quiet", context], { env })).trim();
    },
    [Symbol.asyncDispose]: async () => await daemon[Symbol.asyncDispose](),
  };
}

function nameOf({ mirror, registry }: EngineInit, reference: string): string {
  return mirror === undefined ? `${registry}/${reference}` : reference;
}

async function startDaemon(
  init: EngineInit,
): Promise<{ readonly docker: readonly string[]; readonly daemon: Running }> {
  const { folder, registry, mirror, settings } = init;
  const place = placeWith(init.place, "docker", settings);
  const socket = `unix://${join(folder, "docker.sock")}`;
  const made = join(folder, "daemon.json");
  await writeFile(
    made,
    JSON.stringify({
      "insecure-registries": [registry],
      ...(mirror === undefined ? {} : { "registry-mirrors": [`http://${mirror}`] }),
    }),
  );
  const argv = [
    "dockerd",
    `--config-file=${settings === undefined ? made : "/etc/docker/daemon.json"}`,
    `--host=${socket}`,
    `--data-root=${join(folder, "data")}`,
    `--exec-root=${join(folder, "exec")}`,
    `--pidfile=${join(folder, "docker.pid")}`,
    "--iptables=false",
    "--ip6tables=false",
    "--ip-forward=false",
    "--ip-masq=false",
    "--bridge=none",
    "--storage-driver=vfs",
  ];
  const daemon = start(place.within(argv), { outputFile: join(folder, "dockerd.log") });
  const docker = [DOCKER, "-H", socket];
  await engineReady("dockerd", daemon, answers(...docker, "version"));
  return { docker, daemon };
}
