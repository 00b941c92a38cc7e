import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createApiClient, type PeerList, type Pull, type Status } from "../src/index.ts";
import { type ScriptedDaemonInit, startScriptedDaemon } from "../src/testing.ts";

export const status: Status = {
  version: "0.1.0",
  peerId: "12D3KooWSelf",
  startedAt: "2026-01-02T03:04:05.000Z",
  stateFolder: "/var/lib/shoal",
  mirror: ["http://127.0.0.1:5055"],
  swarm: ["/ip4/10.0.0.1/tcp/5056"],
  mdns: "on",
  peersUp: 1,
  store: { blobs: 1, blobBytes: 2, ingests: 3, ingestBytes: 4, freeBytes: 5 },
  traffic: { fromUpstreamBytes: 1, fromPeersBytes: 2, toPeersBytes: 3, toClientsBytes: 4 },
  transfers: 0,
  registries: [{ registry: "docker.io" }],
};

export const peers: PeerList = {
  self: "12D3KooWSelf",
  peers: [
    { id: "12D3KooWOther", state: "up", addresses: ["/ip4/10.0.0.2"], source: "mdns", strikes: 0 },
  ],
};

export function pull(state: Pull["state"], arrivedBytes = 0): Pull {
  return {
    id: "1",
    reference: "docker.io/library/alpine:latest",
    platform: "linux/amd64",
    state,
    startedAt: "2026-01-02T03:04:05.000Z",
    layers: [
      {
        digest: `sha256:${"ab".repeat(32)}`,
        mediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
        sizeBytes: 100,
        arrivedBytes,
        fromUpstreamBytes: arrivedBytes,
        fromPeersBytes: 0,
        fromStoreBytes: 0,
        state: state === "done" ? "done" : "fetching",
      },
    ],
  };
}

/** A folder of its own for one test's socket. */
export async function temporaryFolder(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), "shoal-api-"));
  return {
    path,
    async [Symbol.asyncDispose]() {
      await rm(path, { recursive: true, force: true });
    },
  };
}

/** A scripted daemon, and a client of it. */
export async function scripted(init: Omit<ScriptedDaemonInit, "socketPath"> = {}) {
  const stack = new AsyncDisposableStack();
  const folder = stack.use(await temporaryFolder());
  const socketPath = join(folder.path, "shoal socket:1.sock");
  const daemon = stack.use(await startScriptedDaemon({ socketPath, ...init }));
  const client = stack.use(createApiClient({ socketPath }));
  return { daemon, client, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}
