import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { digestOf } from "@shoal/oci";
import type { Place } from "./lan.ts";
import { type Running, start, until } from "./processes.ts";
import { run } from "./run.ts";

/** Where an engine's mirror is, and the registry that it stands before. */
export interface EngineInit {
  readonly place: Place;
  /** State of the engine; a fresh one for each. */
  readonly folder: string;
  /** The registry's `address:port`. */
  readonly registry: string;
  /** `address:port` of Shoal's mirror; pulls go straight to the registry without it. */
  readonly mirror?: string;
  /** The file, or containerd's folder, that says so in place of one that is made here. */
  readonly settings?: string;
}

/** A container engine on a machine. */
export interface Engine extends AsyncDisposable {
  readonly name: EngineName;
  /**
   * Pulls `repository:tag` or `repository@digest`, and tells what the engine has then: image id, or the digest
   * of all that it wrote.
   */
  pull(reference: string): Promise<string>;
}

export const ENGINES = ["skopeo", "podman", "containerd", "dockerd"] as const;
export type EngineName = (typeof ENGINES)[number];

/** The registry as a path names it where there is no `ns=`: the grammar has no colon. */
function inPath(registry: string): string {
  return registry.replace(":", "_");
}

/** containerd, which can fetch an image without unpacking it. */
export interface Containerd extends Engine {
  /** Fetches everything that `repository:tag` names into its content store. */
  fetch(reference: string): Promise<void>;
}

export async function startEngine(name: EngineName, init: EngineInit): Promise<Engine> {
  await mkdir(init.folder, { recursive: true });
  switch (name) {
    case "skopeo":
      return createSkopeo(init);
    case "podman":
      return await createPodman(init);
    case "containerd":
      return await startContainerd(init);
    case "dockerd":
      return await startDockerd(init);
  }
}

/** Skopeo, copying into a folder of plain files. */
function createSkopeo({ place, folder, registry, mirror }: EngineInit): Engine {
  let count = 0;
  return {
    name: "skopeo",
    async pull(reference) {
      const target = join(folder, `image${count++}`);
      const source =
        mirror === undefined
          ? `${registry}/${reference}`
          : `${mirror}/${inPath(registry)}/${reference}`;
      const copy = ["skopeo", "copy", "--all", "--preserve-digests", "--src-tls-verify=false"];
      await run(place.within([...copy, `docker://${source}`, `dir:${target}`]));
      return digestOf(await readFile(join(target, "manifest.json")));
    },
    async [Symbol.asyncDispose]() {},
  };
}

async function createPodman(init: EngineInit): Promise<Engine> {
  const { place, folder, registry, mirror } = init;
  const made = join(folder, "registries.conf");
  const configuration = init.settings ?? made;
  const lines = [
    "[[registry]]",
    `location = "${registry}"`,
    "insecure = true",
    ...(mirror === undefined
      ? []
      : ["[[registry.mirror]]", `location = "${mirror}/${inPath(registry)}"`, "insecure = true"]),
  ];
  await writeFile(made, `${lines.join("\n")}\n`);
  const podman = [
    "podman",
    `--root=${join(folder, "root")}`,
    `--runroot=${join(folder, "run")}`,
    "--storage-driver=vfs",
  ];
  const env = { ...process.env, CONTAINERS_REGISTRIES_CONF: configuration };
  return {
    name: "podman",
    async pull(reference) {
      const pull = [...podman, "pull", "--quiet", `${registry}/${reference}`];
      return (await run(place.within(pull), { env })).trim().split("\n").at(-1)!;
    },
    async [Symbol.asyncDispose]() {
      await run([...podman, "system", "reset", "--force"], { env }).catch(() => undefined);
    },
  };
}

/** containerd with `ctr`, which downloads in its own process: both run in the machine. */
export async function startContainerd(init: EngineInit): Promise<Containerd> {
  await mkdir(init.folder, { recursive: true });
  const { place, folder, registry, mirror } = init;
  const socket = join(folder, "containerd.sock");
  const configuration = join(folder, "config.toml");
  await writeFile(
    configuration,
    [
      "version = 2",
      `root = "${join(folder, "root")}"`,
      `state = "${join(folder, "state")}"`,
      'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper"]',
      "[grpc]",
      `address = "${socket}"`,
      "[ttrpc]",
      `address = "${socket}.ttrpc"`,
      '[plugins."io.containerd.metadata.v1.bolt"]',
      'content_sharing_policy = "isolated"',
      "",
    ].join("\n"),
  );
  const made = join(folder, "hosts");
  const hosts = init.settings ?? made;
  await mkdir(join(made, registry), { recursive: true });
  await writeFile(
    join(made, registry, "hosts.toml"),
    [
      `server = "http://${registry}"`,
      `[host."http://${mirror ?? registry}"]`,
      'capabilities = ["pull", "resolve"]',
      "",
    ].join("\n"),
  );
  const daemon = start(place.within(["containerd", "-c", configuration]), {
    outputFile: join(folder, "containerd.log"),
  });
  const ctr = ["ctr", "-a", socket, "-n", "lab"];
  await ready("containerd", daemon, [...ctr, "version"]);
  return {
    name: "containerd",
    async fetch(reference) {
      const fetch = [...ctr, "content", "fetch", "--hosts-dir", hosts, `${registry}/${reference}`];
      await run(place.within(fetch));
    },
    async pull(reference) {
      const name = `${registry}/${reference}`;
      await run(
        place.within([
          ...ctr,
          "images",
          "pull",
          "--hosts-dir",
          hosts,
          "--platform",
          "linux/amd64",
          name,
        ]),
      );
      const listed = await run([...ctr, "images", "ls", `name==${name}`]);
      return /sha256:[0-9a-f]{64}/.exec(
        listed.split("\n").find((line) => line.startsWith(name)) ?? "",
      )![0];
    },
    [Symbol.asyncDispose]: async () => await daemon[Symbol.asyncDispose](),
  };
}

/** dockerd's classic store has mirrors for docker.io alone: through one, the images are named as Docker Hub's. */
async function startDockerd(init: EngineInit): Promise<Engine> {
  const { place, folder, registry, mirror } = init;
  const socket = `unix://${join(folder, "docker.sock")}`;
  const made = join(folder, "daemon.json");
  const configuration = init.settings ?? made;
  await writeFile(
    made,
    JSON.stringify({
      "insecure-registries": [registry],
      ...(mirror === undefined ? {} : { "registry-mirrors": [`http://${mirror}`] }),
    }),
  );
  const argv = [
    "dockerd",
    `--config-file=${configuration}`,
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
  const docker = ["docker", "-H", socket];
  await ready("dockerd", daemon, [...docker, "version"]);
  return {
    name: "dockerd",
    async pull(reference) {
      const name = mirror === undefined ? `${registry}/${reference}` : reference;
      await run([...docker, "pull", "--quiet", name]);
      return (await run([...docker, "image", "inspect", "--format", "{{.Id}}", name])).trim();
    },
    [Symbol.asyncDispose]: async () => await daemon[Symbol.asyncDispose](),
  };
}

async function ready(what: string, daemon: Running, probe: readonly string[]): Promise<void> {
  await until(
    `${what} answers`,
    async () => {
      if (!daemon.isRunning)
        throw new Error(`${what} ended: ${(await daemon.output()).slice(-2000)}`);
      return await run(probe).then(
        () => true,
        () => false,
      );
    },
    40_000,
  );
}
