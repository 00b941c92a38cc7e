/**
 * A raw libp2p client that tries all that a stranger on the LAN can: every protocol, with what members send,
 * each on a connection of its own. Arguments: host, port, the secret to learn as JSON, and a prologue in hex
 * where it has one. Prints, as JSON, what it reached and, in hex, every byte that it was told.
 */
import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { noise } from "@chainsafe/libp2p-noise";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { multiaddr } from "@multiformats/multiaddr";
import { encode } from "cborg";
import { createLibp2p } from "libp2p";
import { questionsAbout, type Secret } from "./questions.ts";

/** What a stranger has reached and heard. */
export interface Intrusion {
  readonly connected: boolean;
  /** By the name of each attempt, where anything was answered. */
  readonly heard: Readonly<Record<string, string>>;
}

interface Attempt {
  readonly name: string;
  readonly protocol: string;
  /** Sent one after another. */
  readonly frames: readonly Uint8Array[];
}

const ADMISSION = "/shoal/admit/1";
const MUTUAL_ADMISSION = "/shoal/admit/2";
const PATIENCE_MS = 300;
const LIMIT_MS = 5000;

const [host, port, secret, prologue] = process.argv.slice(2) as [string, string, string, string?];
const questions = questionsAbout(JSON.parse(secret) as Secret);
const hello = encode({ nonce: randomBytes(32) });
const guess = encode({ proof: randomBytes(32), card: { addresses: [], roster: [] } });
const shown = encode({ proof: randomBytes(32), certificate: randomBytes(200) });
const ask = encode({ token: "0".repeat(16), nonce: randomBytes(32) });
const attempts: Attempt[] = [
  ...questions.map(({ name, lane, frame }) => ({
    name,
    protocol: `/shoal/${lane}/1`,
    frames: [frame],
  })),
  { name: "beat", protocol: "/shoal/beat/1", frames: [encode({})] },
  { name: "challenge", protocol: ADMISSION, frames: [hello] },
  { name: "guess", protocol: ADMISSION, frames: [hello, guess] },
  { name: "mutual", protocol: MUTUAL_ADMISSION, frames: [hello, shown] },
  { name: "join", protocol: "/shoal/join/1", frames: [ask] },
  { name: "news", protocol: "/shoal/site/1", frames: [encode({ type: "renew" })] },
  ...["/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0", "/ipfs/ping/1.0.0", "/meshsub/1.1.0"].map(
    (protocol) => ({ name: protocol, protocol, frames: [randomBytes(32)] }),
  ),
];

async function attempt({ protocol, frames }: Attempt): Promise<{ reached: boolean; hex: string }> {
  const node = await createLibp2p({
    transports: [tcp()],
    connectionEncrypters: [
      noise(prologue === undefined ? {} : { prologueBytes: Buffer.from(prologue, "hex") }),
    ],
    streamMuxers: [yamux()],
    connectionGater: { denyDialMultiaddr: () => false },
  });
  let reached = false;
  let hex = "";
  try {
    const address = multiaddr(`/ip4/${host}/tcp/${port}`);
    const connection = await node.dial(address, { signal: AbortSignal.timeout(LIMIT_MS) });
    reached = true;
    // A stream that is asked for on a connection that then closes may never settle.
    const over = Promise.withResolvers<never>();
    const timer = setTimeout(() => over.reject(new Error("no answer")), LIMIT_MS);
    connection.addEventListener("close", () => over.reject(new Error("closed")));
    try {
      const stream = await Promise.race([connection.newStream(protocol), over.promise]);
      stream.addEventListener("message", ({ data }) => {
        hex += Buffer.from(data.subarray()).toString("hex");
      });
      for (const frame of frames) {
        const head = Buffer.alloc(4);
        head.writeUInt32BE(frame.length);
        stream.send(Buffer.concat([head, frame]));
        await delay(PATIENCE_MS);
      }
    } finally {
      over.promise.catch(() => undefined);
      clearTimeout(timer);
    }
  } catch {
    // Refused, as it should be; what was heard before that counts.
  } finally {
    // Nor may the end of a client whose connection was cut under it.
    await Promise.race([node.stop(), delay(PATIENCE_MS)]);
  }
  return { reached, hex };
}

const heard: Record<string, string> = {};
let connected = false;
for (const each of attempts) {
  const { reached, hex } = await attempt(each);
  connected ||= reached;
  if (hex !== "") heard[each.name] = hex;
}
const intrusion: Intrusion = { connected, heard };
console.log(JSON.stringify(intrusion));
process.exit(0);
