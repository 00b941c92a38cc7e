import { digestOf } from "@shoal/oci";
import { describe, expect, it } from "vitest";
import { createAudits } from "../src/audits.ts";
import { testPeerId } from "../src/testing.ts";
import type { Sync } from "../src/wire/messages.ts";

const OFFICES = 64;
const peer = testPeerId("a");

function message(blob: number, disputing: boolean): Sync {
  const dispute = {
    disputing,
    mayAudit: false,
    signers: [],
    contested: [],
    findings: [],
    heard: 0,
  };
  return {
    type: "sync",
    digest: digestOf(Buffer.from(String(blob))),
    size: 1,
    repository: "docker.io/library/alpine",
    canFetch: true,
    have: new Uint8Array(1),
    leases: [],
    wants: true,
    cursors: [],
    epoch: 0,
    excluded: [],
    passedOver: [],
    leaving: false,
    ...(disputing ? { dispute } : {}),
  };
}

describe("the audit offices of a host", () => {
  it("are as many as are remembered, and go by when they were last asked", async () => {
    const audits = createAudits({
      notary: {
        sign: async () => undefined,
        verify: async () => true,
      } as unknown as Parameters<typeof createAudits>[0]["notary"],
      random: () => 0.5,
      doubt: () => 0,
    });
    const isKnown = async (blob: number): Promise<boolean> =>
      (await audits.sync(peer, message(blob, false), 0)) !== undefined;
    for (let blob = 0; blob < OFFICES; blob++) await audits.sync(peer, message(blob, true), 0);
    // Asking one that is there takes the place of none.
    for (let blob = OFFICES - 1; blob >= 0; blob--) expect(await isKnown(blob)).toBe(true);
    await audits.sync(peer, message(OFFICES, true), 0);
    expect(await isKnown(0)).toBe(true);
    expect(await isKnown(OFFICES - 1)).toBe(false);
  });
});
