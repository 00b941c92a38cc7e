/** A member of the site that says it has every blob, and sends noise. Arguments: token, announced blobs as JSON. */
import { randomBytes } from "node:crypto";
import { createEphemeralIdentity, createNetwork, parseSiteToken } from "@shoal/network";
import { noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import {
  type ControlReply,
  decodeBlock,
  decodeRequest,
  encodeBlockReply,
  encodeReply,
  encodeRequest,
} from "@shoal/swarm";

const [token, announced] = process.argv.slice(2) as [string, string];
const blobs = JSON.parse(announced) as [never, number][];
const network = createNetwork(
  {
    identity: await createEphemeralIdentity(),
    clock: systemClock,
    random: Math.random,
    logger: silentLogger,
    metrics: noMetrics,
  },
  { token: parseSiteToken(token) },
);
let sentBytes = 0;

network.handle(async (_peer, lane, frame) => {
  if (lane === "bulk") {
    const { length } = decodeBlock(frame);
    sentBytes += length;
    return encodeBlockReply(
      { status: "ok", alternatives: [] },
      new Uint8Array(randomBytes(length)),
    );
  }
  const request = decodeRequest(frame);
  const reply: ControlReply =
    request.type === "sync"
      ? {
          type: "synced",
          epoch: 1,
          holders: [network.self],
          neighbours: [],
          leases: [],
          participants: 1,
          hope: true,
          retryMs: 500,
        }
      : request.type === "resolve"
        ? { type: "refused", code: "ERR_UPSTREAM" }
        : { type: "done" };
  return [encodeReply(reply)];
});
network.on("memberUp", (peer) => {
  const news = encodeRequest({ type: "announce", held: blobs, gone: [], complete: true });
  network.request(peer, "control", news).then(
    () => console.log(`ready ${network.self}`),
    (error: unknown) => console.log(`failed ${String(error)}`),
  );
});
process.on("SIGTERM", () => {
  console.log(`sent ${sentBytes}`);
  void network[Symbol.asyncDispose]().then(() => process.exit(0));
});
await network.start();
