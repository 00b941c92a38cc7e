import { digestOf, parseRegistryHost } from "@shoal/oci";
import { hasCode } from "@shoal/runtime";
import { encode } from "cborg";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { testPeerId } from "../src/testing.ts";
import {
  decodeBlock,
  decodeBlockReply,
  decodeReply,
  decodeRequest,
  encodeBlock,
  encodeBlockReply,
  encodeRequest,
  MAX_CONTROL_BYTES,
} from "../src/wire/codec.ts";
import type { ControlRequest, Sync } from "../src/wire/messages.ts";

const digest = digestOf(Buffer.from("blob"));
const registry = parseRegistryHost("ghcr.io");
const sync: Sync = {
  type: "sync",
  digest,
  size: 1_000_000,
  repository: "docker.io/library/alpine",
  canFetch: true,
  have: new Uint8Array([0xf0]),
  leases: [{ id: 1, epoch: 1, first: 0, end: 2, done: 17 }],
  wants: true,
  cursors: [],
  epoch: 3,
  excluded: [testPeerId("a")],
  passedOver: [],
  leaving: false,
};

describe("wire codec", () => {
  const requests: ControlRequest[] = [
    sync,
    { ...sync, origin: testPeerId("b") },
    { ...sync, zone: "rack1" },
    { ...sync, zone: "", within: [[0, 2]] },
    { type: "interest", digest, size: 5, repository: "ghcr.io/a/b", have: new Uint8Array([0x80]) },
    { type: "have", digest, size: 5, repository: "ghcr.io/a/b", pieces: [0] },
    { type: "announce", held: [[digest, 5]], gone: [digest], complete: true },
    { type: "stat", digest, repository: "ghcr.io/a/b" },
    { type: "keeping", digests: [digest] },
    { type: "nudge", digest, size: 5 },
    { type: "uplink", office: "ghcr.io", want: 3, holds: 1 },
    { type: "pause", registry, forMs: 5000, cause: "limited", relayed: true },
    {
      type: "limits",
      configured: { connections: 4 },
      set: { bytesPerSecond: 1000, setAtMs: 5, by: testPeerId("a") },
    },
    { type: "resolve", repository: "ghcr.io/a/b", name: "v1", accept: ["*"], lookup: "known" },
  ];

  it.each(requests)("reads back $type", (request) => {
    expect(decodeRequest(encodeRequest(request))).toEqual(request);
  });

  it("begins every frame with its version", () => {
    expect([...encodeRequest(sync).subarray(0, 2)]).toEqual([0x82, 0x01]);
  });

  it("refuses what is not in the protocol", () => {
    const bad: unknown[] = [
      [2, sync],
      [1, { ...sync, more: 1 }],
      [1, { ...sync, size: -1 }],
      [1, { ...sync, size: 2 ** 42 + 1 }],
      [1, { ...sync, digest: "sha256:zz" }],
      [1, { ...sync, excluded: ["not a peer"] }],
      [1, { type: "sing" }],
      { 1: sync },
      null,
    ];
    for (const value of bad)
      expect(() => decodeRequest(encode(value))).toThrow(
        expect.objectContaining({ code: "ERR_MESSAGE" }),
      );
  });

  it("takes blobs of up to 4 TiB", () => {
    expect(decodeRequest(encodeRequest({ ...sync, size: 2 ** 42 }))).toMatchObject({
      size: 2 ** 42,
    });
  });

  it("refuses a frame over its bound before it reads it", () => {
    expect(() => decodeRequest(new Uint8Array(MAX_CONTROL_BYTES + 1))).toThrow(/256 KiB/);
  });

  it("throws nothing but coded errors for any bytes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        for (const decode of [decodeRequest, decodeReply, decodeBlock, decodeBlockReply]) {
          try {
            decode(bytes);
          } catch (error) {
            if (!hasCode(error, "ERR_MESSAGE")) throw error;
          }
        }
      }),
    );
  });

  it("throws nothing but coded errors for frames with a bit turned", () => {
    const frame = encodeRequest(sync);
    fc.assert(
      fc.property(fc.nat(frame.length * 8 - 1), (bit) => {
        const turned = Uint8Array.from(frame);
        turned[bit >> 3]! ^= 1 << (bit & 7);
        try {
          decodeRequest(turned);
        } catch (error) {
          if (!hasCode(error, "ERR_MESSAGE")) throw error;
        }
      }),
    );
  });

  it("carries a block's bytes after its head", () => {
    const bytes = new Uint8Array([1, 2, 3]);
    const frame = Buffer.concat(encodeBlockReply({ status: "ok", alternatives: [] }, bytes));
    const { head, bytes: got } = decodeBlockReply(frame);
    expect(head.status).toBe("ok");
    expect([...got]).toEqual([1, 2, 3]);
  });

  it("carries who vouches for the piece in a block's head", () => {
    const attestation = {
      signer: testPeerId("a"),
      first: 3,
      hashes: new Uint8Array(64),
      source: "holder" as const,
      signature: new Uint8Array(64),
    };
    const frame = Buffer.concat(encodeBlockReply({ status: "ok", attestation, alternatives: [] }));
    expect(decodeBlockReply(frame).head.attestation).toEqual(attestation);
    const long = { ...attestation, hashes: new Uint8Array(65 * 32) };
    const bad = encodeBlockReply({ status: "ok", attestation: long, alternatives: [] });
    expect(() => decodeBlockReply(Buffer.concat(bad))).toThrow(
      expect.objectContaining({ code: "ERR_MESSAGE" }),
    );
  });

  it("refuses a block over 1 MiB", () => {
    const block = { type: "block", digest, size: 1 << 22, repository: "ghcr.io/a/b", offset: 0 };
    const frame = encodeBlock({ ...block, type: "block", length: 1024 * 1024 + 1 });
    expect(() => decodeBlock(frame)).toThrow(expect.objectContaining({ code: "ERR_MESSAGE" }));
  });
});
