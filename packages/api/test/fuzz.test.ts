import { CodedError } from "@shoal/runtime";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { answerError } from "../src/errors.ts";
import { parseEvent } from "../src/events.ts";
import { parseAnswer } from "../src/exchange.ts";
import {
  ApiErrorSchema,
  EventSchema,
  ImageListSchema,
  JoinRequestSchema,
  PeerListSchema,
  PullListSchema,
  PullRequestSchema,
  PullSchema,
  StatusSchema,
  TokenSchema,
} from "../src/schema.ts";
import { peers, pull, status } from "./fixtures.ts";

const schemas = [
  ApiErrorSchema,
  EventSchema,
  ImageListSchema,
  PeerListSchema,
  PullListSchema,
  PullSchema,
  StatusSchema,
  TokenSchema,
];

/** Right answers, from which wrong ones are made. */
const samples: readonly unknown[] = [
  status,
  peers,
  pull("fetching", 50),
  { pulls: [pull("done", 100)] },
  { images: [{ name: "a", digest: "b", mediaType: "c", sizeBytes: 1, complete: true }] },
  { token: "secret" },
  { type: "pull", pull: pull("resolving") },
  { type: "peer-up", peer: "a" },
  { error: { code: "ERR_X", message: "no", details: { a: 1 } } },
];

/** A copy of `value` with one of its parts, found by `path`, put in place by another. */
function withPart(value: unknown, path: readonly number[], part: unknown): unknown {
  const [step, ...rest] = path;
  if (step === undefined || typeof value !== "object" || value === null) return part;
  const keys = Object.keys(value);
  const key = keys[step % Math.max(1, keys.length)];
  if (key === undefined) return part;
  const inner: unknown = Reflect.get(value, key);
  if (Array.isArray(value)) return value.with(Number(key), withPart(inner, rest, part));
  return { ...value, [key]: withPart(inner, rest, part) };
}

const anyPart = fc.oneof(
  fc.jsonValue({ maxDepth: 3 }),
  fc.constantFrom(-1, 0.5, 2 ** 60, 1e308, "__proto__", "2026-02-30T00:00:00Z"),
);
const nearlyRight = fc
  .record({
    sample: fc.constantFrom(...samples),
    path: fc.array(fc.nat({ max: 20 }), { minLength: 1, maxLength: 5 }),
    part: anyPart,
  })
  .map(({ sample, path, part }) => JSON.stringify(withPart(sample, path, part)));
/** Right answers that were cut off, or had characters lost in them. */
const damaged = fc
  .record({ sample: fc.constantFrom(...samples), from: fc.nat({ max: 400 }), to: fc.nat(400) })
  .map(({ sample, from, to }) => {
    const text = JSON.stringify(sample);
    return text.slice(0, from) + text.slice(Math.max(from, to));
  });
const anyText = fc.oneof(nearlyRight, damaged, fc.json(), fc.string({ unit: "binary" }));

/** What `parse` gives, or undefined where it refuses with `code`; any other failure is a fault. */
function orRefused<Value>(code: string, parse: () => Value): Value | undefined {
  try {
    return parse();
  } catch (error) {
    expect(error).toBeInstanceOf(CodedError);
    expect(error).toMatchObject({ code });
    return undefined;
  }
}

test("an answer is of its schema, or ERR_API_PROTOCOL", () => {
  fc.assert(
    fc.property(anyText, fc.constantFrom(...schemas), (text, schema) => {
      const value = orRefused("ERR_API_PROTOCOL", () => parseAnswer("GET /", schema, text));
      if (value !== undefined) expect(schema.parse(value)).toEqual(value);
    }),
    { numRuns: 1000 },
  );
});

test("an event is one of this version, passed over, or ERR_API_PROTOCOL", () => {
  fc.assert(
    fc.property(anyText, (text) => {
      const event = orRefused("ERR_API_PROTOCOL", () => parseEvent("/v1/events", text));
      if (event !== undefined) expect(["pull", "peer-up", "peer-down"]).toContain(event.type);
    }),
    { numRuns: 500 },
  );
});

test("a refusal is always an error with a code, whatever its body", () => {
  fc.assert(
    fc.property(anyText, fc.integer({ min: 300, max: 599 }), (text, statusCode) => {
      const error = answerError("GET /v1/status", statusCode, text);
      expect(error).toBeInstanceOf(CodedError);
      expect(error.code).toMatch(/^ERR_[A-Z0-9_]+$/);
    }),
    { numRuns: 500 },
  );
});

test("a right answer with more in it than is known comes out as the right answer", () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (more) => {
      const text = JSON.stringify({ ...more, ...status });
      expect(parseAnswer("GET /v1/status", StatusSchema, text)).toEqual(status);
    }),
  );
});

test("a request with a field that the daemon does not know is refused", () => {
  fc.assert(
    fc.property(
      fc.string().filter((key) => !["reference", "platform", "token"].includes(key)),
      (key) => {
        // A computed key, so that __proto__ is a field too.
        expect(PullRequestSchema.safeParse({ reference: "a", [key]: 1 }).success).toBe(false);
        expect(JoinRequestSchema.safeParse({ token: "a", [key]: 1 }).success).toBe(false);
      },
    ),
  );
});
