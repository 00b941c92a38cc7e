/**
 * A raw libp2p client that tries all that a stranger on the LAN can. Arguments: host, port, and a prologue in
 * hex where it has one. Prints, as JSON, what it reached and every byte that it was told.
 */
import { setTimeout as delay } from "node:timers/promises";
import { noise } from "@chainsafe/libp2p-noise";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { multiaddr } from "@multiformats/multiaddr";
import { createLibp2p } from "libp2p";

const [host, port, prologue] = process.argv.slice(2) as [string, string, string?];
const PROTOCOLS = [
  "/shoal/control/1",
  "/shoal/bulk/1",
  "/shoal/beat/1",
  "/shoal/admit/1",
  "/ipfs/id/1.0.0",
  "/ipfs/id/push/1.0.0",
  "/ipfs/ping/1.0.0",
  "/meshsub/1.1.0",
];
const node = await createLibp2p({
  transports: [tcp()],
  connectionEncrypters: [
    noise(prologue === undefined ? {} : { prologueBytes: Buffer.from(prologue, "hex") }),
  ],
  streamMuxers: [yamux()],
  connectionGater: { denyDialMultiaddr: () => false },
});
const heard: Record<string, string> = {};
let connected = false;
try {
  const connection = await node.dial(multiaddr(`/ip4/${host}/tcp/${port}`), {
    signal: AbortSignal.timeout(5000),
  });
  connected = true;
  for (const protocol of PROTOCOLS) {
    try {
      const stream = await connection.newStream(protocol, { signal: AbortSignal.timeout(2000) });
      stream.addEventListener("message", ({ data }) => {
        heard[protocol] = (heard[protocol] ?? "") + Buffer.from(data.subarray()).toString("hex");
      });
      // A request for what everybody has, framed as members frame it.
      const frame = Buffer.from("8201a0", "hex");
      const head = Buffer.alloc(4);
      head.writeUInt32BE(frame.length);
      stream.send(Buffer.concat([head, frame]));
      await delay(300);
    } catch {
      // Refused, as it should be; what was heard before that counts.
    }
  }
} catch {
  // Not even connected.
}
console.log(JSON.stringify({ connected, heard }));
await node.stop();
process.exit(0);
