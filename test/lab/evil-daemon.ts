/**
 * A member like any other but for the bytes that it gives to others, which are lies that it attests. Argument:
 * JSON with `folder`, `token`, `registry`, `caFile` (plain HTTP without), `references`, `sly`. It says
 * `ready PEERID`; on each SIGUSR2 it pulls the next image, and says `pulled`; on SIGTERM it says `told N`, how many
 * of its answers were lies, and ends. It takes nothing back when it is accused.
 */
import { join } from "node:path";
import { createNetwork, loadIdentity, parseSiteToken } from "@shoal/network";
import { parseManifest, parseReference } from "@shoal/oci";
import { noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import { openFileStore } from "@shoal/store";
import { createSwarm, decodeRequest, encodeReply, type PeerTransport } from "@shoal/swarm";
import { createUpstream } from "@shoal/upstream";
import { createLies, over } from "./lying-store.ts";

const { folder, token, registry, caFile, references, sly } = JSON.parse(process.argv[2]!) as {
  folder: string;
  token: string;
  registry: string;
  caFile?: string;
  references: string[];
  sly: boolean;
};
const base = {
  clock: systemClock,
  logger: silentLogger,
  metrics: noMetrics,
  random: Math.random,
};
const trueStore = await openFileStore(base, { directory: join(folder, "store") });
const trueUpstream = createUpstream(base, {
  userAgent: "shoal/evil",
  registries: { [registry]: caFile === undefined ? { plainHttp: true } : { caFile } },
});
const lies = createLies({ store: trueStore, upstream: trueUpstream }, sly);
const identity = await loadIdentity(base, { directory: folder });
const network = createNetwork({ ...base, identity }, { token: parseSiteToken(token) });
const unrepentant: Pick<PeerTransport, "handle"> = {
  handle(handler) {
    network.handle(async (peer, lane, frame, options) => {
      if (lane === "control" && decodeRequest(frame).type === "accuse")
        return [encodeReply({ type: "accused", withdrawn: false })];
      return await handler(peer, lane, frame, options);
    });
  },
};
const swarm = await createSwarm({
  ...base,
  transport: over(network, unrepentant),
  store: lies.store,
  upstream: lies.upstream,
});

async function pull(reference: string): Promise<void> {
  const { repository, tag } = parseReference(reference);
  const { bytes, mediaType } = await swarm.resolve(repository, tag!);
  const manifest = parseManifest(bytes, mediaType);
  if (manifest.kind !== "manifest") throw new Error("not an image");
  await Promise.all(
    manifest.blobs.map(async ({ digest, size }) => {
      await using blob = await swarm.open({ digest, sizeBytes: size, repository });
      await blob.finished();
    }),
  );
}

process.on("SIGUSR2", () => {
  pull(references.shift()!).then(
    () => console.log("pulled"),
    (error: unknown) => console.log(`failed ${String(error)}`),
  );
});
process.on("SIGTERM", () => {
  console.log(`told ${lies.told}`);
  process.exit(0);
});
await network.start();
console.log(`ready ${network.self}`);
