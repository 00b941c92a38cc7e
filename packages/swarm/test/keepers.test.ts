import { digestOf } from "@shoal/oci";
import { CodedError, silentLogger } from "@shoal/runtime";
import { describe, expect, it } from "vitest";
import { createKeepers } from "../src/keepers.ts";
import type { PeerClient } from "../src/peer-client.ts";
import { testPeerId } from "../src/test-peer-id.ts";

const digests = ["a", "b", "secret"].map((text) => digestOf(Buffer.from(text)));
const [a, b, secret] = digests as [(typeof digests)[0], (typeof digests)[0], (typeof digests)[0]];

describe("the last copies of a site", () => {
  it("are those that nobody says to keep, by whom it is refused included", async () => {
    const members = ["x", "old", "liar"].map((name) => testPeerId(name));
    const asked: string[] = [];
    const ask = async (
      peer: string,
      { digests: some }: { digests: string[] },
    ): Promise<unknown> => {
      asked.push(...some);
      if (peer === members[1]) throw new CodedError("ERR_PEER_REFUSED", "an earlier version");
      return { type: "kept", kept: peer === members[0] ? [some.indexOf(a)] : [99] };
    };
    const keepers = createKeepers({
      transport: { members: () => members },
      peers: { ask: ask as PeerClient["ask"] },
      shares: (digest) => digest !== secret,
      logger: silentLogger,
    });
    expect(await keepers.lastCopies(digests)).toEqual(new Set([b]));
    expect(asked).not.toContain(secret);
  });

  it("are none where there is nobody to lose them", async () => {
    const keepers = createKeepers({
      transport: { members: () => [] },
      peers: { ask: async () => await Promise.reject(new Error("nobody is asked")) },
      shares: () => true,
      logger: silentLogger,
    });
    expect(await keepers.lastCopies(digests)).toEqual(new Set());
  });
});
