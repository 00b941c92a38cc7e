import { readFile } from "node:fs/promises";
import { digestOf, parseRegistryHost } from "@shoal/oci";

import { encode } from "cborg";
import { describe, expect, it } from "vitest";
import type { PeerTransport } from "../src/index.ts";
import { createMemorySite, testPeerId } from "../src/testing.ts";
import {
  decodeBlock,
  decodeBlockReply,
  decodeReply,
  decodeRequest,
  encodeBlock,
  encodeBlockReply,
  encodeReply,
  encodeRequest,
} from "../src/wire/codec.ts";
import {
  type BlockHead,
  type ControlReply,
  type ControlRequest,
  WIRE_VERSION,
} from "../src/wire/messages.ts";
import {
  addBlob,
  addTag,
  createMember,
  createOrigin,
  read,
  repository,
  same,
  tag,
} from "./support.ts";

const digest = digestOf(Buffer.from("blob"));
const blob = { digest, size: 1_000_000, repository: "ghcr.io/org/app" };
const registry = parseRegistryHost("ghcr.io");
const [one, two] = [testPeerId("a"), testPeerId("b")];
const attestation = {
  signer: one,
  first: 0,
  hashes: new Uint8Array(32).fill(1),
  source: "upstream" as const,
  signature: new Uint8Array(64).fill(2),
};
const record = {
  repository: blob.repository,
  name: "v1",
  accept: ["*"],
  digest,
  mediaType: "application/vnd.oci.image.manifest.v1+json",
  ageMs: 5,
  signer: one,
  signature: new Uint8Array(64).fill(3),
};

const requests: readonly ControlRequest[] = [
  {
    type: "sync",
    ...blob,
    canFetch: true,
    have: new Uint8Array([0xf0]),
    leases: [{ id: 1, epoch: 1, first: 0, end: 2, done: 17 }],
    wants: true,
    cursors: [1],
    epoch: 3,
    excluded: [one],
    passedOver: [two],
    leaving: false,
    origin: two,
    zone: "rack1",
    within: [[0, 2]],
  },
  { type: "interest", ...blob, have: new Uint8Array([0x80]) },
  { type: "have", ...blob, pieces: [0, 3] },
  { type: "announce", held: [[digest, 5]], gone: [digest], complete: true },
  { type: "stat", digest, repository: blob.repository },
  { type: "keeping", digests: [digest] },
  { type: "nudge", digest, size: 5 },
  { type: "resolve", repository: blob.repository, name: "v1", accept: ["*"], lookup: "known" },
  { type: "keep", record },
  { type: "accuse", ...blob, attestation },
  { type: "uplink", office: "ghcr.io", want: 3, holds: 1 },
  { type: "pause", registry, forMs: 5000, cause: "limited", relayed: true },
  {
    type: "limits",
    configured: { connections: 4 },
    set: { bytesPerSecond: 1000, setAtMs: 5, by: one },
  },
];
const replies: readonly ControlReply[] = [
  {
    type: "synced",
    epoch: 1,
    holders: [one],
    neighbours: [two],
    leases: [{ id: 1, epoch: 1, first: 0, end: 2 }],
    participants: 2,
    hope: true,
    retryMs: 500,
  },
  { type: "interested", have: new Uint8Array([0x40]) },
  { type: "stats", size: 5 },
  { type: "kept", kept: [0] },
  { type: "resolved", record, size: 7 },
  { type: "accused", withdrawn: true },
  { type: "uplinked", amount: 4 },
  { type: "done" },
  { type: "refused", code: "ERR_NOT_SHARED" },
];
const block = { type: "block", ...blob, offset: 0, length: 4096 } as const;
const head: BlockHead = { status: "ok", attestation, alternatives: [two] };

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

describe(`the wire, version ${WIRE_VERSION}`, () => {
  const fixture = new URL(`fixtures/wire-${WIRE_VERSION}.txt`, import.meta.url);
  const frames = [
    ...requests.map((request) => [`request ${request.type}`, encodeRequest(request)] as const),
    ...replies.map((reply) => [`reply ${reply.type}`, encodeReply(reply)] as const),
    ["block", encodeBlock(block)] as const,
    ["block-head", Buffer.concat(encodeBlockReply(head, Buffer.from("bytes")))] as const,
  ];

  it("is written as it ever was", async () => {
    const lines = frames.map(([name, bytes]) => `${name}: ${hex(bytes)}\n`);
    await expect(lines.join("")).toMatchFileSnapshot(fixture.pathname);
  });

  it("is read as it ever was", async () => {
    const lines = (await readFile(fixture, "utf8")).trim().split("\n");
    const kept = new Map(lines.map((line) => line.split(": ") as [string, string]));
    const bytesOf = (name: string): Uint8Array =>
      new Uint8Array(Buffer.from(kept.get(name)!, "hex"));
    for (const request of requests)
      expect(decodeRequest(bytesOf(`request ${request.type}`))).toEqual(request);
    for (const reply of replies) expect(decodeReply(bytesOf(`reply ${reply.type}`))).toEqual(reply);
    expect(decodeBlock(bytesOf("block"))).toEqual(block);
    const answer = decodeBlockReply(bytesOf("block-head"));
    expect(answer.head).toEqual(head);
    expect(Buffer.from(answer.bytes).toString()).toBe("bytes");
  });
});

describe("a member of a version that is not known here", () => {
  /** Speaks as this version does, but for the number. */
  function speakOtherwise(transport: PeerTransport): { readonly asked: () => number } {
    let asked = 0;
    transport.handle(async (_peer, lane) => {
      asked += 1;
      const answer = Buffer.from(encode([WIRE_VERSION + 1, { type: "done" }]));
      return lane === "bulk" ? [Buffer.from([0, answer.length]), answer] : [answer];
    });
    return { asked: () => asked };
  }

  it("fails no pull: what it does not give comes from the registry", {
    timeout: 30_000,
  }, async () => {
    const site = createMemorySite();
    const origin = createOrigin();
    addTag(origin);
    const { digest: wanted, bytes } = addBlob(origin, 3_000_000);
    const others = ["later", "later-too", "latest"].map((name) => speakOtherwise(site.join(name)));
    await using member = await createMember(origin, site.join("this"));
    const resolved = await member.swarm.resolve(repository, tag);
    expect(resolved.digest).toBe(origin.tagged.get(tag));
    expect(same(await read(member, wanted, bytes.length), bytes)).toBe(true);
    expect(others.some(({ asked }) => asked() > 0)).toBe(true);
    expect(member.swarm.suspects().filter(({ strikes }) => strikes > 0)).toEqual([]);
  });

  it("is told that its message is not understood, in this version", async () => {
    const site = createMemorySite();
    await using member = await createMember(createOrigin(), site.join("this"));
    expect(member.swarm.suspects()).toEqual([]);
    const later = site.join("later");
    const question = encode([
      WIRE_VERSION + 1,
      { type: "stat", digest, repository: "ghcr.io/a/b" },
    ]);
    const answer = decodeReply(await later.request(testPeerId("this"), "control", question));
    expect(answer).toEqual({ type: "refused", code: "ERR_MESSAGE" });
    const reading = (): unknown => decodeReply(encode([WIRE_VERSION + 1, { type: "done" }]));
    expect(reading).toThrow(/version other than .*neighbouring versions/);
  });
});
