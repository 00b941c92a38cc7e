import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { digestOf } from "@shoal/oci";
import {
  answers,
  type Engine,
  type EngineInit,
  engineReady,
  type OpenEngine,
  placeWith,
} from "./engine.ts";
import type { Place } from "./lan.ts";
import { type Running, start } from "./processes.ts";
import { run } from "./run.ts";

/** Debian's own, beside dockerd; a newer one on the PATH may build by a plugin that is not there. */
const DOCKER = "/usr/bin/docker";
/**
 * Docker's default, five, has it wait for 75 s before it turns from a mirror that has died in mid-blob; one, for
 * 5 s. More downloads at once than any test has, so that none waits for another.
 */
const IMPATIENT = { "max-download-attempts": 1, "max-concurrent-downloads": 50 };

/** dockerd's classic store has mirrors for docker.io alone: through one, the images are named as Docker Hub's. */
export async function startDockerd(init: EngineInit): Promise<OpenEngine> {
  const { docker, daemon } = await startDaemon(init);
  let exported = 0;
  return {
    name: "dockerd",
    async pull(reference, options) {
      const name = nameOf(init, reference);
      await run([...docker, "pull", "--quiet", name], options);
      return (await run([...docker, "image", "inspect", "--format", "{{.Id}}", name])).trim();
    },
    async contents(reference) {
      const name = nameOf(init, reference);
      const target = join(init.folder, `export${exported++}`);
      await mkdir(target);
      await run([...docker, "save", "--output", `${target}.tar`, name]);
      await run(["tar", "-xf", `${target}.tar`, "-C", target]);
      const read = async (path: string): Promise<Uint8Array> => await readFile(join(target, path));
      const [image] = JSON.parse(Buffer.from(await read("manifest.json")).toString()) as [
        { readonly Config: string; readonly Layers: readonly string[] },
      ];
      const noted = ["image", "inspect", "--format", "{{index .RepoDigests 0}}", name];
      const [, manifest] = (await run([...docker, ...noted])).trim().split("@");
      const files = [image.Config, ...image.Layers].map(async (path) => digestOf(await read(path)));
      return [manifest!, ...(await Promise.all(files))];
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
  const { folder, registry, mirror, settings, own } = init;
  const reached = own === undefined ? init.place : await withHub(init.place, folder, own);
  const place = placeWith(reached, "docker", settings);
  const socket = `unix://${join(folder, "docker.sock")}`;
  const made = join(folder, "daemon.json");
  await writeFile(
    made,
    JSON.stringify({
      "insecure-registries": [registry],
      ...(mirror === undefined ? {} : { "registry-mirrors": [`http://${mirror}`] }),
      ...(own === undefined ? {} : IMPATIENT),
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

/** A place in which Docker Hub is at another address, with another authority. */
async function withHub(
  place: Place,
  folder: string,
  { address, caFile }: NonNullable<EngineInit["own"]>,
): Promise<Place> {
  const hosts = join(folder, "hosts");
  await writeFile(hosts, `127.0.0.1 localhost\n${address} registry-1.docker.io\n`);
  const { within } = placeWith(place, "hosts", hosts);
  return { ...place, within: (argv) => within(["env", `SSL_CERT_FILE=${caFile}`, ...argv]) };
}
