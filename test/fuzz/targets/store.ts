import { digestOf, parseDescriptor } from "@shoal/oci";
import { bitfieldFromBytes } from "../../../packages/store/src/bitfield.ts";
import { pieceGeometry } from "../../../packages/store/src/geometry.ts";
import {
  JOURNAL_RECORD_BYTES,
  journalHeader,
  journalRecord,
  readJournal,
} from "../../../packages/store/src/journal.ts";
import { digestOfIngest } from "../../../packages/store/src/layout.ts";
import { createPieceHashes } from "../../../packages/store/src/piece-hashes.ts";
import type { RecordTable } from "../../../packages/store/src/types.ts";
import { type FuzzTarget, promise, textTarget } from "../target.ts";

const SIZE_BYTES = 1_000_000;
const { pieceCount } = pieceGeometry(SIZE_BYTES);
const hash = new Uint8Array(32).fill(5);
const descriptor = {
  mediaType: "a/b",
  digest: `sha256:${"ab".repeat(32)}`,
  size: 5,
  annotations: { a: "b" },
};

export const STORE_TARGETS: readonly FuzzTarget[] = [
  {
    name: "store/journal",
    examples: [
      Buffer.concat([
        journalHeader(SIZE_BYTES),
        journalRecord(0 as never, hash),
        journalRecord(3 as never, undefined),
      ]),
    ],
    dictionary: [journalRecord(1 as never, hash), journalRecord(0xffffffff as never, hash)],
    mostBytes: 64 * JOURNAL_RECORD_BYTES,
    refuses: [],
    parse(input) {
      for (const [piece, found] of readJournal(Buffer.from(input), SIZE_BYTES, pieceCount) ?? [])
        promise(
          piece >= 0 && piece < pieceCount && found.length === 32,
          "a journal tells of pieces of its blob",
        );
    },
  },
  {
    name: "store/bitfield",
    examples: [Buffer.from([0xf0])],
    dictionary: [],
    mostBytes: 128 * 1024,
    refuses: [],
    parse(input) {
      const field = bitfieldFromBytes(pieceCount, input);
      if (field !== undefined)
        promise(
          [...field].length === field.count && Buffer.compare(field.toBytes(), input) === 0,
          "a bitfield has one form",
        );
    },
  },
  textTarget({
    name: "store/piece-hashes",
    examples: [Buffer.alloc(pieceCount * 32, 5).toString("base64")],
    dictionary: ["=", "AAAA"],
    mostBytes: 64 * 1024,
    async parse(text) {
      const table = {
        get: async () => text,
        put: async () => undefined,
      } as unknown as RecordTable<string>;
      const digest = digestOf(Buffer.from("x"));
      const found = await createPieceHashes(table).of(
        { digest, sizeBytes: 5 },
        async (_offset, length) => new Uint8Array(length),
      );
      promise(found === undefined || found.length === 32, "a piece has one hash");
    },
  }),
  textTarget({
    name: "store/descriptor",
    examples: [JSON.stringify(descriptor)],
    values: [descriptor],
    mostBytes: 64 * 1024,
    refuses: ["ERR_DESCRIPTOR_INVALID"],
    parse: (text) => parseDescriptor(valueOf(text)),
  }),
  textTarget({
    name: "store/ingest-name",
    examples: [`sha256-${"ab".repeat(32)}.data`, `sha512-${"ab".repeat(64)}.journal.tmp`],
    dictionary: [".data", "../", "sha256-"],
    mostBytes: 4096,
    parse: (text) =>
      promise(!(digestOfIngest(text) ?? "").includes("/"), "a digest leads nowhere else"),
  }),
];

function valueOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
