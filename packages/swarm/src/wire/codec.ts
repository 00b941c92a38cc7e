import { CodedError } from "@shoal/runtime";
import { decode, encode } from "cborg";
import type * as z from "zod";
import {
  type Block,
  type BlockHead,
  BlockHeadSchema,
  BlockSchema,
  type ControlReply,
  type ControlRequest,
  ReplySchema,
  RequestSchema,
  WIRE_VERSION,
} from "./messages.ts";

/** Largest control frame in bytes. */
export const MAX_CONTROL_BYTES = 256 * 1024;

const DECODING = {
  strict: true,
  allowIndefinite: false,
  allowUndefined: false,
  allowInfinity: false,
  allowNaN: false,
  allowBigInt: false,
  rejectDuplicateMapKeys: true,
} as const;

function encodeVersioned(body: object): Uint8Array {
  return encode([WIRE_VERSION, body]);
}

function decodeVersioned<Schema extends z.ZodType>(
  schema: Schema,
  frame: Uint8Array,
): z.infer<Schema> {
  if (frame.length > MAX_CONTROL_BYTES) throw messageError("is over 256 KiB");
  let value: unknown;
  try {
    value = decode(frame, DECODING);
  } catch (cause) {
    throw messageError("is not CBOR as the protocol writes it", cause);
  }
  if (!Array.isArray(value) || value.length !== 2) throw messageError("has no version");
  if (value[0] !== WIRE_VERSION) throw messageError(`has a version other than ${WIRE_VERSION}`);
  const parsed = schema.safeParse(value[1]);
  if (!parsed.success)
    throw messageError("has fields that the protocol does not allow", parsed.error);
  return parsed.data;
}

function messageError(fault: string, cause?: unknown): CodedError<"ERR_MESSAGE"> {
  return new CodedError(
    "ERR_MESSAGE",
    `a member's message ${fault}; check that all daemons of the site run neighbouring versions`,
    { cause },
  );
}

export function encodeRequest(request: ControlRequest): Uint8Array {
  return encodeVersioned(request);
}
/** @throws ERR_MESSAGE */
export function decodeRequest(frame: Uint8Array): ControlRequest {
  return decodeVersioned(RequestSchema, frame);
}
export function encodeReply(reply: ControlReply): Uint8Array {
  return encodeVersioned(reply);
}
/** @throws ERR_MESSAGE */
export function decodeReply(frame: Uint8Array): ControlReply {
  return decodeVersioned(ReplySchema, frame);
}
export function encodeBlock(block: Block): Uint8Array {
  return encodeVersioned(block);
}
/** @throws ERR_MESSAGE */
export function decodeBlock(frame: Uint8Array): Block {
  return decodeVersioned(BlockSchema, frame);
}

/** A block's answer: two bytes of the head's length (big endian), the head, the bytes. */
export function encodeBlockReply(head: BlockHead, bytes?: Uint8Array): Uint8Array[] {
  const encoded = encodeVersioned(head);
  const prefix = new Uint8Array(2);
  new DataView(prefix.buffer).setUint16(0, encoded.length);
  return bytes === undefined ? [prefix, encoded] : [prefix, encoded, bytes];
}

/** @throws ERR_MESSAGE */
export function decodeBlockReply(frame: Uint8Array): { head: BlockHead; bytes: Uint8Array } {
  if (frame.length < 2) throw messageError("ends before its head");
  const headLength = (frame[0]! << 8) | frame[1]!;
  if (frame.length < 2 + headLength) throw messageError("ends within its head");
  return {
    head: decodeVersioned(BlockHeadSchema, frame.subarray(2, 2 + headLength)),
    bytes: frame.subarray(2 + headLength),
  };
}
