import { createHash } from "node:crypto";
import type { PeerIdString } from "./transport.ts";

const BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/** A peer id in the right form, the same for the same name. */
export function testPeerId(name: string): PeerIdString {
  const hash = createHash("sha512").update(name).digest();
  const text = [...hash.subarray(0, 44)].map((byte) => BASE58[byte % 58]).join("");
  return `12D3KooW${text}` as PeerIdString;
}
