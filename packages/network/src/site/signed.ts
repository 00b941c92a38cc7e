import { CodedError } from "@shoal/runtime";
import { decode, encode } from "cborg";
import * as z from "zod";
import { isSignedBy } from "../signatures.ts";

const SIGNATURE_BYTES = 64;
const bytes = z.custom<Uint8Array>((value) => value instanceof Uint8Array);
const DocumentSchema = z.tuple([
  bytes,
  bytes.refine(({ length }) => length === SIGNATURE_BYTES, "no signature"),
]);
const STRICT = { strict: true, allowIndefinite: false, rejectDuplicateMapKeys: true } as const;

/** What the site key signs begins with what it is, so that no document is taken for another. */
export function signDocument(
  body: readonly unknown[],
  sign: (message: Uint8Array) => Uint8Array,
): Uint8Array {
  const encoded = encode(body);
  return new Uint8Array(encode([encoded, sign(encoded)]));
}

/**
 * Reads the body of a document and checks its signature. Each document has one encoding: another of the
 * same content is refused, so that documents can be compared by their bytes.
 * @throws ERR_SITE_DOCUMENT
 */
export function readDocument<Schema extends z.ZodType>(
  document: Uint8Array,
  init: {
    readonly publicKey: Uint8Array;
    readonly schema: Schema;
    readonly mostBytes: number;
    readonly what: string;
  },
): z.infer<Schema> {
  const { publicKey, schema, mostBytes, what } = init;
  if (document.length > mostBytes)
    throw invalid(what, `has ${document.length} bytes, and may have ${mostBytes}`);
  let signed: z.infer<typeof DocumentSchema>;
  let body: z.infer<Schema>;
  try {
    signed = DocumentSchema.parse(decode(document, STRICT));
    body = schema.parse(decode(signed[0], STRICT));
  } catch (cause) {
    throw invalid(what, "can't be read", cause);
  }
  if (!same(encode(signed), document) || !same(encode(body), signed[0]))
    throw invalid(what, "is not encoded as it must be");
  if (!isSignedBy(publicKey, signed[0], signed[1]))
    throw invalid(what, "was not signed with this site's key");
  return body;
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function invalid(what: string, fault: string, cause?: unknown): CodedError<"ERR_SITE_DOCUMENT"> {
  return new CodedError(
    "ERR_SITE_DOCUMENT",
    `a ${what} ${fault}; look which machine sent it, and whether it belongs to this site`,
    { cause },
  );
}
