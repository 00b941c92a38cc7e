import {
  auditHash,
  createAuditVerifier,
  formatAuditRecord,
  ImageListSchema,
  JoinRequestSchema,
  JoinTokenRequestSchema,
  LimitsChangeSchema,
  MemberListSchema,
  parseAuditHead,
  parseAuditRecord,
  parseBytes,
  parseRate,
  PeerListSchema,
  PullListSchema,
  PullRequestSchema,
  StatusSchema,
} from "@shoal/api";
import { answerError } from "../../../packages/api/src/errors.ts";
import { parseEvent } from "../../../packages/api/src/events.ts";
import { parseAnswer } from "../../../packages/api/src/exchange.ts";
import { peers, pull, status } from "../../../packages/api/test/fixtures.ts";
import { type FuzzTarget, promise, textTarget } from "../target.ts";

const TEXT_BYTES = 256 * 1024;
const image = { name: "a", digest: "b", mediaType: "c", sizeBytes: 1, complete: true };
const member = {
  peer: "a",
  name: "b",
  roles: ["member"],
  state: "up",
  notAfter: "2026-01-02T03:04:05.000Z",
};
const refusal = { error: { code: "ERR_X", message: "no", details: { a: 1 } } };

const line = formatAuditRecord({
  seq: 1,
  time: "2026-01-02T03:04:05.000Z",
  kind: "pull",
  fields: { what: "a", bytes: 5, from: ["b"] },
  previous: "0".repeat(64),
});

const SCHEMAS = {
  status: [StatusSchema, status],
  peers: [PeerListSchema, peers],
  pulls: [PullListSchema, { pulls: [pull("done", 100)] }],
  images: [ImageListSchema, { images: [image] }],
  members: [MemberListSchema, { self: "a", keyed: true, members: [member] }],
  "pull-request": [PullRequestSchema, { reference: "alpine", platform: "linux/arm64" }],
  "join-request": [JoinRequestSchema, { token: "shoal1-x" }],
  "token-request": [JoinTokenRequestSchema, { uses: 1, ttlSeconds: 60 }],
  limits: [LimitsChangeSchema, { uplinkBytesPerSecond: 5 }],
} as const;

export const API_TARGETS: readonly FuzzTarget[] = [
  ...Object.entries(SCHEMAS).map(([name, [schema, value]]) =>
    textTarget({
      name: `api/${name}`,
      examples: ["{}"],
      values: [value],
      dictionary: ['"__proto__":'],
      mostBytes: TEXT_BYTES,
      refuses: ["ERR_API_PROTOCOL"],
      parse: (text) => parseAnswer("GET /", schema, text),
    }),
  ),
  textTarget({
    name: "api/events",
    examples: ['{"type":"later"}'],
    values: [
      { type: "pull", pull: pull("resolving") },
      { type: "peer-up", peer: "a" },
    ],
    mostBytes: TEXT_BYTES,
    refuses: ["ERR_API_PROTOCOL"],
    parse: (text) => parseEvent("/v1/events", text),
  }),
  textTarget({
    name: "api/refusal",
    examples: [JSON.stringify(refusal)],
    values: [refusal],
    mostBytes: TEXT_BYTES,
    parse: (text) =>
      promise(
        /^ERR_[A-Z0-9_]+$/.test(answerError("GET /", 500, text).code),
        "a refusal has a code",
      ),
  }),
  textTarget({
    name: "api/rate",
    examples: ["20Mbit", "2.5 MB/s", "none"],
    dictionary: ["KiB", "/s", "."],
    mostBytes: 4096,
    parse: (text) => promise((parseRate(text) ?? 1) >= 1, "a rate is at least a byte a second"),
  }),
  textTarget({
    name: "api/bytes",
    examples: ["20GB", "512 MiB", "0"],
    dictionary: ["TiB", "."],
    mostBytes: 4096,
    parse: (text) => promise((parseBytes(text) ?? 0) >= 0, "a size is a count"),
  }),
  textTarget({
    name: "api/audit-line",
    examples: [line],
    values: [JSON.parse(line) as unknown],
    dictionary: ['"seq":', '"previous":"', "}\n{"],
    mostBytes: 32 * 1024,
    refuses: ["ERR_AUDIT_RECORD"],
    parse(text) {
      const bytes = Buffer.from(text);
      const verifier = createAuditVerifier({ seq: 2, hash: auditHash(bytes) });
      verifier.line(bytes, "audit.jsonl", 1);
      verifier.rest(bytes, "audit.jsonl", 2, true);
      promise(!verifier.end().intact, "a log that ends before its head is not intact");
      parseAuditRecord(bytes);
    },
  }),
  textTarget({
    name: "api/audit-head",
    examples: [`{"seq":1,"hash":"${"0".repeat(64)}"}\n`],
    dictionary: ['"seq":', " "],
    mostBytes: 4096,
    parse: (text) => parseAuditHead(text),
  }),
];
