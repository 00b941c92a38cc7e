import { decode } from "cborg";
import { protocolError } from "./faults.ts";

/**
 * What a frame says, in CBOR of one form: nothing without an end, no key twice.
 * @throws ERR_PEER_PROTOCOL on anything else, however deep it nests
 */
export function decodeStrict(frame: Uint8Array): unknown {
  try {
    return decode(frame, { strict: true, allowIndefinite: false, rejectDuplicateMapKeys: true });
  } catch (cause) {
    throw protocolError("sent a frame that can't be read", cause);
  }
}
