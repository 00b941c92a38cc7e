/**
 * A member like any other but for the bytes that it gives to others, which are lies that it attests. Argument:
 * JSON with `folder`, `token`, `registry`, `reference`, `sly`. It says `ready PEERID`; on SIGUSR2 it pulls the
 * image with everybody else; on SIGTERM it says `told N`, how many of its answers were lies, and ends.
 */
import { join } from "node:path";
import { createNetwork, loadIdentity, parseSiteToken } from "@shoal/network";
import { parseManifest, parseReference } from "@shoal/oci";
import { noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import { openFileStore } from "@shoal/store";
import { createSwarm } from "@shoal/swarm";
import { createUpstream } from "@shoal/upstream";
import { createLies } from "./lying-store.ts";

const { folder, token, registry, reference, sly } = JSON.parse(process.argv[2]!) as {
  folder: string;
  token: string;
  registry: string;
  reference: string;
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
  registries: { [registry]: { plainHttp: true } },
});
const lies = createLies({ store: trueStore, upstream: trueUpstream }, sly);
const identity = await loadIdentity(base, { directory: folder });
const network = createNetwork({ ...base, identity }, { token: parseSiteToken(token) });
const swarm = await createSwarm({
  ...base,
  transport: network,
  store: lies.store,
  upstream: lies.upstream,
});

async function pull(): Promise<void> {
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
  pull().then(
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
