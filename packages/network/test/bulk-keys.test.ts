import { randomBytes } from "node:crypto";
import type { PeerIdString } from "@shoal/swarm";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BULK_KEY_MS, createBulkKeys, decodeGrant, encodeGrant } from "../src/bulk-keys.ts";

const [ANNA, BEN] = ["anna", "ben"] as PeerIdString[] as [PeerIdString, PeerIdString];

describe("bulk keys", () => {
  it("are one member's each, and are told as they are", () => {
    const keys = createBulkKeys(() => 0, randomBytes);
    const [one, two] = [keys.grant(ANNA, 5058), keys.grant(BEN, 5058)];
    expect(keys.find(one.identity)).toMatchObject({ peer: ANNA, key: one.key });
    expect(keys.find(two.identity)).toMatchObject({ peer: BEN, key: two.key });
    expect(Buffer.compare(one.key, two.key)).not.toBe(0);
    expect(decodeGrant(encodeGrant(one))).toEqual(one);
  });

  it("end with their time, with the second after them, and with the membership", () => {
    let now = 0;
    const keys = createBulkKeys(() => now, randomBytes);
    const first = keys.grant(ANNA, 1);
    now = BULK_KEY_MS - 1;
    expect(keys.find(first.identity)).toBeDefined();
    now = BULK_KEY_MS;
    expect(keys.find(first.identity)).toBeUndefined();
    const granted = [keys.grant(ANNA, 1), keys.grant(ANNA, 1), keys.grant(ANNA, 1)];
    const other = keys.grant(BEN, 1);
    const good = (): boolean[] => granted.map(({ identity }) => keys.find(identity) !== undefined);
    expect(good()).toEqual([false, true, true]);
    keys.revoke(ANNA);
    expect(good()).toEqual([false, false, false]);
    expect(keys.find(other.identity)).toBeDefined();
  });

  it("are not read from anything else", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(() => decodeGrant(bytes)).toThrow();
      }),
    );
  });
});
