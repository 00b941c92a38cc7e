import { EventEmitter } from "node:events";
import { createRequire } from "node:module";
import { testPeerId } from "@shoal/swarm/testing";
import { hasCode } from "@shoal/runtime";
import { encode } from "cborg";
import { endpointOf, parsePeerAddress } from "../../../packages/network/src/addresses.ts";
import { CardSchema, grantAdmission } from "../../../packages/network/src/admission.ts";
import { receive } from "../../../packages/network/src/admission-frames.ts";
import { decodeGrant } from "../../../packages/network/src/bulk-keys.ts";
import { createFrameIntake } from "../../../packages/network/src/frame-intake.ts";
import type { FramedStream } from "../../../packages/network/src/frames.ts";
import { sightingOf } from "../../../packages/network/src/mdns.ts";
import { parsePeerId } from "../../../packages/network/src/signatures.ts";
import {
  issueCertificate,
  readCertificate,
} from "../../../packages/network/src/site/certificate.ts";
import { askToJoin } from "../../../packages/network/src/site/join-exchange.ts";
import { createJoinToken, parseJoinToken } from "../../../packages/network/src/site/join-token.ts";
import {
  createNotices,
  signRevocation,
  signTokenEnd,
} from "../../../packages/network/src/site/notices.ts";
import { siteKeyOf } from "../../../packages/network/src/site/site-key.ts";
import {
  createSiteToken,
  parseSiteToken,
  siteOf,
} from "../../../packages/network/src/site-token.ts";
import { type FuzzTarget, promise, textTarget } from "../target.ts";

const PEER = "12D3KooWETbNS4r7gyRcKZCY4b21ZLxCvTipLDVAxonGY49oZVdk";
const token = createSiteToken();
const site = siteOf(token);
const key = siteKeyOf(new Uint8Array(32).fill(1));
const verifier = { id: site.id, publicKey: key.publicKey };
const joinToken = createJoinToken(site, key.publicKey);
const certificate = issueCertificate(key, {
  site: site.id,
  peer: PEER as never,
  name: "m",
  roles: ["member", "issuer"],
  issuedAtMs: 1,
  notAfterMs: 10_000,
});
const card = {
  addresses: ["/ip4/10.0.0.1/tcp/5056"],
  roster: [{ peer: PEER, addresses: ["/ip6/fd00::1/tcp/5056"] }],
  zone: "rack1",
};
const FRAME_BYTES = 64 * 1024;
/** What the network package reads packets with; none of this folder's. */
const MULTICAST_DNS = "multicast-dns";
const SERVICE = "_shoal-0123456789._udp.local";

/** The errors of a frame's reader: {@link receive} names them. */
function isUnreadable(error: unknown): boolean {
  return (
    hasCode(error, "ERR_PEER_PROTOCOL") || (error instanceof Error && error.name === "ZodError")
  );
}

/** A stream on which the same frame comes again and again. */
function streamOf(frame: Uint8Array): FramedStream {
  const { signal } = new AbortController();
  return {
    open: true,
    signal,
    fault: undefined,
    copies: true,
    read: async () => frame,
    write: async () => undefined,
    abort: () => undefined,
  };
}

/** What multicast-dns makes of a packet, and what is read of that. */
function createPacketReader(): (packet: Uint8Array) => unknown {
  const socket = Object.assign(new EventEmitter(), {
    setMulticastTTL() {},
    addMembership() {},
    setMulticastLoopback() {},
    bind() {},
    unref() {},
  });
  const require = createRequire(new URL("../../../packages/network/package.json", import.meta.url));
  const multicastDns = require(MULTICAST_DNS) as (options: object) => EventEmitter;
  const instance = multicastDns({ socket, bind: false, multicast: false });
  let seen: unknown;
  let failure: unknown;
  instance.on("warning", () => undefined);
  instance.on("response", (packet: Parameters<typeof sightingOf>[0]) => {
    try {
      seen = sightingOf(packet, SERVICE);
    } catch (error) {
      failure = error;
    }
  });
  instance.on("query", ({ questions }: { questions?: readonly { name: string }[] }) =>
    (questions ?? []).some((question) => question.name === SERVICE),
  );
  return (packet) => {
    [seen, failure] = [undefined, undefined];
    socket.emit("message", Buffer.from(packet), { address: "10.0.0.1", port: 5353 });
    if (failure !== undefined) throw failure;
    return seen;
  };
}

function mdnsPacket(): Uint8Array {
  const name = (text: string): Buffer =>
    Buffer.concat([
      ...text.split(".").map((label) => Buffer.from([label.length, ...Buffer.from(label)])),
      Buffer.from([0]),
    ]);
  const data = Buffer.from(`dnsaddr=/ip4/10.0.0.1/tcp/5056/p2p/${PEER}`);
  const record = (owner: Buffer, type: number, rdata: Buffer): Buffer =>
    Buffer.concat([
      owner,
      Buffer.from([0, type, 0, 1, 0, 0, 0, 120, rdata.length >> 8, rdata.length & 255]),
      rdata,
    ]);
  const instance = name(`abc.${SERVICE}`);
  return Buffer.concat([
    Buffer.from([0, 0, 0x84, 0, 0, 0, 0, 2, 0, 0, 0, 0]),
    record(name(SERVICE), 12, instance),
    record(instance, 16, Buffer.concat([Buffer.from([data.length]), data])),
  ]);
}

const WORDS = ["nonce", "proof", "card", "__proto__"].map((word) => encode(word));
const cbor = {
  dictionary: WORDS,
  mostBytes: FRAME_BYTES,
  refuses: [] as readonly `ERR_${string}`[],
  examples: [] as Uint8Array[],
};
const bytes = (length: number): Uint8Array => new Uint8Array(length);

export const NETWORK_TARGETS: readonly FuzzTarget[] = [
  {
    name: "network/frames",
    examples: [Buffer.from([0, 0, 0, 3, 1, 2, 3, 0, 0, 0, 0]), Buffer.from([0, 0, 1, 0, 9])],
    dictionary: [
      Buffer.from([0, 0, 16, 1]),
      Buffer.from([255, 255, 255, 255]),
      Buffer.from([0, 0, 0, 0]),
    ],
    mostBytes: FRAME_BYTES,
    refuses: ["ERR_PEER_PROTOCOL", "ERR_PEER_UNREACHABLE"],
    async parse(input) {
      const { inbox, ...intake } = createFrameIntake(4096, () => undefined);
      const step = 1 + (input.length % 7) * 500;
      for (let at = 0; at < input.length; at += step) {
        inbox.take(input.subarray(at, at + step));
        // Whoever reads takes a whole frame before the next comes.
        if (!inbox.within) break;
      }
      intake.close("ended");
      const frame = await inbox.read();
      promise((frame?.length ?? 0) <= 4096, "a frame keeps its bound");
    },
  },
  {
    ...cbor,
    name: "network/card",
    values: { of: [card], encode },
    isRefusal: isUnreadable,
    parse: async (frame) =>
      await receive({ read: async () => frame }, CardSchema, new AbortController().signal),
  },
  {
    ...cbor,
    name: "network/admission",
    neverAccepts: true,
    values: {
      of: [
        { nonce: bytes(32) },
        { nonce: bytes(32), proof: bytes(32) },
        { proof: bytes(32), card },
      ],
      encode,
    },
    refuses: ["ERR_ADMISSION"],
    parse: async (frame) =>
      await grantAdmission(streamOf(frame), {
        key: site.admissionKey,
        self: PEER,
        remote: PEER,
        card: () => card,
      }).then(() => promise(false, "nobody is admitted without the token")),
  },
  {
    ...cbor,
    name: "network/join",
    neverAccepts: true,
    values: {
      of: [
        { nonce: bytes(32), site: site.id, key: key.publicKey, certificate: certificate.document },
      ],
      encode,
    },
    refuses: ["ERR_ADMISSION"],
    parse: async (frame) =>
      await askToJoin(streamOf(frame), {
        token: parseJoinToken(joinToken),
        name: "m",
        self: testPeerId("me"),
        remote: PEER as never,
        now: () => 5,
      }),
  },
  {
    ...cbor,
    name: "network/certificate",
    examples: [certificate.document],
    mostBytes: 4096,
    refuses: ["ERR_SITE_DOCUMENT"],
    parse: (document) =>
      promise(
        Buffer.compare(readCertificate(document, verifier).document, certificate.document) === 0,
        "no other certificate is good",
      ),
  },
  {
    ...cbor,
    name: "network/notices",
    examples: [
      signRevocation(key, site.id, { peer: PEER as never, beforeMs: 5 }),
      signTokenEnd(key, site.id, 5),
    ],
    mostBytes: 1024,
    refuses: ["ERR_SITE_DOCUMENT"],
    parse: (document) => createNotices(verifier).merge([document]),
  },
  {
    ...cbor,
    name: "network/bulk-grant",
    values: {
      of: [{ port: 5058, identity: "ab".repeat(16), key: bytes(32), lifetimeMs: 5 }],
      encode,
    },
    isRefusal: isUnreadable,
    parse: (frame) => decodeGrant(frame),
  },
  {
    name: "network/mdns",
    examples: [mdnsPacket()],
    dictionary: [
      Buffer.from([0xc0, 0x0c]),
      Buffer.from([0xc0, 0x00]),
      Buffer.from([0, 16]),
      Buffer.from("dnsaddr=/"),
      Buffer.from([0, 41]),
    ],
    mostBytes: 9000,
    refuses: [],
    parse: createPacketReader(),
  },
  textTarget({
    name: "network/multiaddr",
    examples: [`/ip4/10.0.0.1/tcp/5056/p2p/${PEER}`, "/ip6zone/eth0/ip6/fe80::1/tcp/1"],
    dictionary: ["/ip6/", "/tcp/", "/p2p/", "99999"],
    mostBytes: 4096,
    parse: (text) => endpointOf(text),
  }),
  textTarget({
    name: "network/peer-address",
    examples: ["10.0.0.7:5056", "[fd00::1]:5056", "node.lab", "fd00::1"],
    dictionary: ["[", "]:", ":99999"],
    mostBytes: 4096,
    refuses: ["ERR_PEER_ADDRESS"],
    parse: (text) => parsePeerAddress(text, 5056),
  }),
  textTarget({
    name: "network/peer-id",
    examples: [PEER, "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"],
    dictionary: ["12D3KooW", "bafz"],
    mostBytes: 4096,
    parse: (text) => parsePeerId(text),
  }),
  textTarget({
    name: "network/site-token",
    examples: [token],
    dictionary: ["shoal1", "-", " "],
    mostBytes: 4096,
    refuses: ["ERR_TOKEN_INVALID"],
    parse: (text) => siteOf(parseSiteToken(text)),
  }),
  textTarget({
    name: "network/join-token",
    examples: [joinToken],
    dictionary: ["shoaljoin1", "-"],
    mostBytes: 4096,
    refuses: ["ERR_TOKEN_INVALID"],
    parse: (text) => parseJoinToken(text),
  }),
];
