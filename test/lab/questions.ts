import { type Digest, isDigest, MEDIA_TYPES } from "@shoal/oci";
import { encodeBlock, encodeRequest, type Lane } from "@shoal/swarm";

/** Something that a site has, and that nobody outside of it may learn. */
export interface Secret {
  /** `registry/name` */
  readonly repository: string;
  readonly tag: string;
  readonly digest: string;
  readonly sizeBytes: number;
}

/** A frame as members send it, and the lane that it goes on. */
export interface Question {
  readonly name: string;
  readonly lane: Lane;
  readonly frame: Uint8Array;
}

const BLOCK_BYTES = 64 * 1024;

/** What a member asks to learn all of the secret; within the site, each is answered. */
export function questionsAbout(secret: Secret): Question[] {
  const { repository, tag: name, sizeBytes: size } = secret;
  const digest = parse(secret.digest);
  const blob = { digest, size, repository };
  const accept = [MEDIA_TYPES.ociManifest];
  const block = encodeBlock({
    type: "block",
    ...blob,
    offset: 0,
    length: Math.min(size, BLOCK_BYTES),
  });
  return [
    {
      name: "tag",
      lane: "control",
      frame: encodeRequest({ type: "resolve", repository, name, accept, lookup: "fetch" }),
    },
    {
      name: "size",
      lane: "control",
      frame: encodeRequest({ type: "stat", digest, repository }),
    },
    {
      name: "pieces",
      lane: "control",
      frame: encodeRequest({ type: "interest", ...blob, have: new Uint8Array(64) }),
    },
    { name: "bytes", lane: "bulk", frame: block },
  ];
}

function parse(text: string): Digest {
  if (!isDigest(text)) throw new Error(`${text} is no digest`);
  return text;
}
