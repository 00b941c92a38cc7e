import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { digestOf } from "@shoal/oci";
import { askCri, pullByCri } from "./cri.ts";
import {
  answers,
  type Engine,
  type EngineInit,
  engineReady,
  type OpenEngine,
  placeWith,
} from "./engine.ts";
import { type Running, start } from "./processes.ts";
import { run } from "./run.ts";

const UNUSED = ["btrfs", "zfs", "devmapper"].map((name) => `io.containerd.snapshotter.v1.${name}`);

/** containerd, which can fetch an image without unpacking it. */
export interface Containerd extends OpenEngine {
  /** Fetches everything that `repository:tag` names into its content store. */
  fetch(reference: string): Promise<void>;
}

interface ImageManifest {
  readonly config: { readonly digest: string };
  readonly layers: readonly { readonly digest: string }[];
}

/** A containerd, and the folder in which it and `ctr` look for a registry's hosts. */
interface Started {
  readonly socket: string;
  readonly hosts: string;
  readonly daemon: Running;
}

/** containerd with `ctr`, which downloads in its own process: both run in the machine. */
export async function startContainerd(init: EngineInit): Promise<Containerd> {
  const place = placeWith(init.place, "containerd", init.settings);
  const { socket, hosts, daemon } = await startDaemon(init);
  const ctr = ["ctr", "-a", socket, "-n", "lab"];
  await engineReady("containerd", daemon, answers(...ctr, "version"));

  async function targetOf(name: string): Promise<string> {
    const listed = await run([...ctr, "images", "ls", `name==${name}`]);
    return /sha256:[0-9a-f]{64}/.exec(
      listed.split("\n").find((line) => line.startsWith(name)) ?? "",
    )![0];
  }

  async function blob(digest: string): Promise<Uint8Array> {
    const blobs = join(init.folder, "root/io.containerd.content.v1.content/blobs");
    return await readFile(join(blobs, digest.replace(":", "/")));
  }

  return {
    name: "containerd",
    async fetch(reference) {
      const fetch = [...ctr, "content", "fetch", "--hosts-dir", hosts];
      await run(place.within([...fetch, `${init.registry}/${reference}`]));
    },
    async pull(reference, options) {
      const name = `${init.registry}/${reference}`;
      const pull = [...ctr, "images", "pull", "--hosts-dir", hosts, "--platform", "linux/amd64"];
      await run(place.within([...pull, name]), options);
      return await targetOf(name);
    },
    async contents(reference) {
      const manifest = await blob(await targetOf(`${init.registry}/${reference}`));
      const { config, layers } = JSON.parse(Buffer.from(manifest).toString()) as ImageManifest;
      const blobs = [config, ...layers].map(async ({ digest }) => digestOf(await blob(digest)));
      return [digestOf(manifest), ...(await Promise.all(blobs))];
    },
    [Symbol.asyncDispose]: async () => await daemon[Symbol.asyncDispose](),
  };
}

/** containerd as the kubelet asks it: by its CRI plugin, which goes by `config_path`. */
export async function startCri(init: EngineInit): Promise<Engine> {
  const { socket, daemon } = await startDaemon(init);
  await engineReady("containerd's CRI", daemon, async () => await askCri(socket));
  return {
    name: "cri",
    pull: async (reference) => await pullByCri(socket, `${init.registry}/${reference}`),
    [Symbol.asyncDispose]: async () => await daemon[Symbol.asyncDispose](),
  };
}

async function startDaemon(init: EngineInit): Promise<Started> {
  const { folder, registry, mirror, settings } = init;
  const place = placeWith(init.place, "containerd", settings);
  const made = join(folder, "config.toml");
  const madeHosts = join(folder, "hosts");
  await mkdir(join(madeHosts, registry), { recursive: true });
  await writeFile(
    made,
    [
      "version = 2",
      `disabled_plugins = ${JSON.stringify(UNUSED)}`,
      '[plugins."io.containerd.metadata.v1.bolt"]',
      'content_sharing_policy = "isolated"',
      '[plugins."io.containerd.grpc.v1.cri".registry]',
      `config_path = "${madeHosts}"`,
      "",
    ].join("\n"),
  );
  await writeFile(
    join(madeHosts, registry, "hosts.toml"),
    [
      `server = "http://${registry}"`,
      `[host."http://${mirror ?? registry}"]`,
      'capabilities = ["pull", "resolve"]',
      "",
    ].join("\n"),
  );
  const socket = join(folder, "containerd.sock");
  const isMade = settings === undefined;
  const argv = [
    "containerd",
    `--config=${isMade ? made : "/etc/containerd/config.toml"}`,
    `--root=${join(folder, "root")}`,
    `--state=${join(folder, "state")}`,
    `--address=${socket}`,
  ];
  const daemon = start(place.within(argv), { outputFile: join(folder, "containerd.log") });
  return { socket, hosts: isMade ? madeHosts : "/etc/containerd/certs.d", daemon };
}
