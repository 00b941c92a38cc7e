import { digestOf, parseRegistryHost } from "@shoal/oci";
import { encode } from "cborg";
import { createNotary, promisedHash } from "../../../packages/swarm/src/attestation.ts";
import { parseWireRepository } from "../../../packages/swarm/src/sharing.ts";
import { testPeerId } from "../../../packages/swarm/src/testing.ts";
import {
  decodeBlock,
  decodeBlockReply,
  decodeReply,
  decodeRequest,
  encodeBlockReply,
  MAX_CONTROL_BYTES,
} from "../../../packages/swarm/src/wire/codec.ts";
import type {
  Attestation,
  ControlReply,
  ControlRequest,
  SignedRecord,
} from "../../../packages/swarm/src/wire/messages.ts";
import { type FuzzTarget, promise, textTarget } from "../target.ts";

const peer = testPeerId("a");
const digest = digestOf(Buffer.from("blob"));
const blob = { digest, size: 1_000_000, repository: "ghcr.io/a/b" };
const bytes = (length: number): Uint8Array => new Uint8Array(length).fill(7);
const lease = { id: 1, epoch: 1, first: 0, end: 2 };
const attestation: Attestation = {
  signer: peer,
  first: 1,
  hashes: bytes(64),
  source: "upstream",
  signature: bytes(64),
};
const record: SignedRecord = {
  repository: blob.repository,
  name: "v1",
  accept: ["*"],
  digest,
  mediaType: "application/json",
  ageMs: 5,
  signer: peer,
  signature: bytes(64),
};

const REQUESTS: {
  readonly [Type in ControlRequest["type"]]: Extract<ControlRequest, { type: Type }>;
} = {
  sync: {
    type: "sync",
    ...blob,
    canFetch: true,
    have: bytes(1),
    leases: [{ ...lease, done: 17 }],
    wants: true,
    cursors: [3],
    epoch: 3,
    excluded: [peer],
    passedOver: [testPeerId("b")],
    zone: "rack1",
    within: [[0, 2]],
    origin: peer,
    leaving: false,
    dispute: {
      disputing: true,
      mayAudit: true,
      signers: [{ signer: peer, pieces: bytes(1) }],
      contested: [1],
      findings: [attestation],
      heard: 1,
    },
  },
  interest: { type: "interest", ...blob, have: bytes(1) },
  have: { type: "have", ...blob, pieces: [0, 1] },
  announce: { type: "announce", held: [[digest, 5]], gone: [digest], complete: true },
  stat: { type: "stat", digest, repository: blob.repository },
  keeping: { type: "keeping", digests: [digest] },
  nudge: { type: "nudge", digest, size: 5 },
  resolve: {
    type: "resolve",
    repository: blob.repository,
    name: "v1",
    accept: ["*"],
    lookup: "known",
  },
  keep: { type: "keep", record, manifest: bytes(5) },
  accuse: { type: "accuse", ...blob, attestation },
  uplink: { type: "uplink", office: "ghcr.io", want: 3, holds: 1 },
  pause: {
    type: "pause",
    registry: parseRegistryHost("ghcr.io"),
    forMs: 5000,
    cause: "limited",
    relayed: true,
  },
  limits: {
    type: "limits",
    configured: { connections: 4 },
    set: { bytesPerSecond: 1000, setAtMs: 5, by: peer },
  },
};
const REPLIES: { readonly [Type in ControlReply["type"]]: Extract<ControlReply, { type: Type }> } =
  {
    synced: {
      type: "synced",
      epoch: 1,
      holders: [peer],
      neighbours: [peer],
      leases: [lease],
      participants: 2,
      hope: true,
      retryMs: 500,
      content: bytes(5),
      audit: { pieces: [1], findings: [attestation], heard: 0 },
    },
    interested: { type: "interested", have: bytes(1) },
    stats: { type: "stats", size: 5 },
    kept: { type: "kept", kept: [0] },
    resolved: { type: "resolved", record, manifest: bytes(5), size: 5 },
    accused: { type: "accused", withdrawn: true },
    uplinked: { type: "uplinked", amount: 3 },
    done: { type: "done" },
    refused: { type: "refused", code: "ERR_LIMIT" },
  };
const WORDS = ["type", "digest", "__proto__", "signature"].map((word) => encode(word));

function messageTarget(
  name: string,
  values: readonly unknown[],
  decode: (frame: Uint8Array) => unknown,
): FuzzTarget {
  return {
    name: `swarm/${name}`,
    examples: [],
    values: { of: values.map((value) => [1, value]), encode },
    dictionary: [
      ...WORDS,
      Buffer.from([0x9a, 0xff, 0xff, 0xff, 0xff]),
      Buffer.from([0xbb, 0, 0, 0, 1, 0, 0, 0, 0]),
    ],
    mostBytes: MAX_CONTROL_BYTES,
    refuses: ["ERR_MESSAGE"],
    parse: decode,
  };
}

const notary = createNotary({
  self: peer,
  site: "site",
  sign: async () => bytes(64),
  verify: async () => false,
});

export const SWARM_TARGETS: readonly FuzzTarget[] = [
  ...Object.entries(REQUESTS).map(([type, request]) =>
    messageTarget(`request-${type}`, [request], decodeRequest),
  ),
  ...Object.entries(REPLIES).map(([type, reply]) =>
    messageTarget(`reply-${type}`, [reply], decodeReply),
  ),
  messageTarget("block", [{ type: "block", ...blob, offset: 0, length: 5 }], decodeBlock),
  {
    ...messageTarget("block-reply", [], decodeBlockReply),
    examples: [
      Buffer.concat(
        encodeBlockReply({ status: "ok", attestation, alternatives: [peer] }, bytes(50)),
      ),
      Buffer.concat(encodeBlockReply({ status: "busy", alternatives: [peer] })),
    ],
    mostBytes: 1024 * 1024,
  },
  {
    ...messageTarget("attestation", [REQUESTS.accuse], async (frame) => {
      const request = decodeRequest(frame);
      if (request.type !== "accuse") return;
      const { digest: of, size, attestation: claim } = request;
      promise(
        !(await notary.verify({ digest: of, sizeBytes: size }, claim)),
        "a signature that is none does not hold",
      );
      promisedHash(claim, 0 as never);
    }),
  },
  textTarget({
    name: "swarm/repository",
    examples: ["ghcr.io/a/b", "docker.io/library/alpine", "[::1]:5000/x"],
    dictionary: ["/", ":5000", ".."],
    mostBytes: 512,
    refuses: ["ERR_MESSAGE"],
    parse: (text) => parseWireRepository(text),
  }),
];
