import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { LayerProgress, Pull, Status } from "@shoal/api";

export const MIB = 1024 * 1024;
export const STARTED = "2026-01-02T03:04:05.000Z";
export const DIGEST = `sha256:${"cd".repeat(32)}`;

export const status: Status = {
  version: "0.1.0",
  peerId: "12D3KooWSelf",
  startedAt: STARTED,
  stateFolder: "/var/lib/shoal",
  mirror: ["127.0.0.1:5055"],
  swarm: ["/ip4/10.0.0.1/tcp/5056"],
  bulkPort: 5058,
  mdns: "on",
  peersUp: 1,
  store: {
    blobs: 3,
    blobBytes: 5 * MIB,
    ingests: 0,
    ingestBytes: 0,
    freeBytes: 900 * MIB,
    minFreeBytes: 256 * MIB,
  },
  traffic: { fromUpstreamBytes: MIB, fromPeersBytes: 3 * MIB, toPeersBytes: 0, toClientsBytes: 0 },
  logins: { files: [{ path: "/root/.docker/config.json", state: "read" }], helpers: [] },
  transfers: 0,
  registries: [{ registry: "docker.io" }],
};

export function layer(letters: string, change: Partial<LayerProgress> = {}): LayerProgress {
  return {
    digest: `sha256:${letters.repeat(32)}`,
    mediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
    sizeBytes: 50 * MIB,
    arrivedBytes: 0,
    fromUpstreamBytes: 0,
    fromPeersBytes: 0,
    fromStoreBytes: 0,
    state: "waiting",
    ...change,
  };
}

export function pull(state: Pull["state"], change: Partial<Pull> = {}): Pull {
  return {
    id: "1",
    reference: "docker.io/library/alpine:latest",
    platform: "linux/amd64",
    state,
    startedAt: STARTED,
    layers: [],
    ...change,
  };
}

/** 100 MiB, of which 97 came from peers, in 4.2 s. */
export const donePull: Pull = pull("done", {
  digest: DIGEST,
  finishedAt: "2026-01-02T03:04:09.200Z",
  layers: [
    layer("aa", { arrivedBytes: 50 * MIB, fromPeersBytes: 50 * MIB, state: "done" }),
    layer("bb", {
      arrivedBytes: 50 * MIB,
      fromPeersBytes: 47 * MIB,
      fromUpstreamBytes: 3 * MIB,
      state: "done",
    }),
  ],
});

/** A folder of its own for one test's socket. */
export async function temporaryFolder(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), "shoal-cli-"));
  return {
    path,
    async [Symbol.asyncDispose]() {
      await rm(path, { recursive: true, force: true });
    },
  };
}

export interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

export interface RunInit {
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Called with all of standard error and output so far; true sends SIGINT, once. */
  readonly interruptWhen?: (text: string) => boolean;
  /** A file for standard output, in place of a pipe. */
  readonly output?: number;
}

const MAIN = new URL("../src/main.ts", import.meta.url).pathname;

/** Runs `shoal` as a process of its own, its streams being pipes. */
export async function shoal(args: readonly string[], init: RunInit = {}): Promise<Ran> {
  const env = { PATH: process.env["PATH"] ?? "", ...init.env };
  const child = spawn(process.execPath, [MAIN, ...args], {
    env,
    stdio: ["pipe", init.output ?? "pipe", "pipe"],
  });
  let out = "";
  let err = "";
  let interrupted = false;
  const look = (): void => {
    if (interrupted || init.interruptWhen?.(out + err) !== true) return;
    interrupted = true;
    child.kill("SIGINT");
  };
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    out += text;
    look();
  });
  child.stderr!.setEncoding("utf8").on("data", (text: string) => {
    err += text;
    look();
  });
  // A command that does not read its input may be gone before it is written.
  child.stdin!.on("error", () => undefined);
  child.stdin!.end(init.input ?? "");
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  return { code, out, err };
}
