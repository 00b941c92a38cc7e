import { type Digest, parseReference } from "@shoal/oci";
import { type AbortOptions, CodedError, raceSignal } from "@shoal/runtime";
import { createManualClock } from "@shoal/runtime/testing";
import type { UpstreamDocument } from "@shoal/upstream";
import { describe, expect, it } from "vitest";
import { createDocuments } from "../src/mirror/documents.ts";

const { repository } = parseReference("registry.test/app");
const NONE = new URLSearchParams();
const DIGEST = `sha256:${"0".repeat(64)}` as Digest;

function setUp() {
  const clock = createManualClock();
  const asked: string[] = [];
  const state: { failure?: CodedError; sizeBytes: number; silent?: boolean } = { sizeBytes: 2 };
  const give = async (
    question: string,
    options: AbortOptions | undefined,
  ): Promise<UpstreamDocument> => {
    asked.push(question);
    if (state.silent === true)
      await raceSignal(new Promise<never>(() => undefined), options?.signal);
    if (state.failure !== undefined) throw state.failure;
    return { mediaType: "application/json", bytes: Buffer.alloc(state.sizeBytes, "1") };
  };
  const upstream = {
    tags: async (_repository: unknown, query: URLSearchParams, options?: AbortOptions) =>
      await give(`tags?${query.toString()}`, options),
    referrers: async (
      _repository: unknown,
      digest: Digest,
      _query: unknown,
      options?: AbortOptions,
    ) => await give(digest, options),
  };
  const documents = createDocuments({ upstream, clock }, { freshMs: 60_000, staleMaxMs: 600_000 });
  return { clock, asked, state, documents };
}

const unreachable = new CodedError("ERR_UPSTREAM_UNREACHABLE", "gone");
const denied = new CodedError("ERR_UPSTREAM_DENIED", "no");

describe("lists of tags and referrers", () => {
  it("are asked for once by many, and again when they are old", async () => {
    const { clock, asked, documents } = setUp();
    await Promise.all([documents.tags(repository, NONE), documents.tags(repository, NONE)]);
    clock.advance(59_000);
    expect(await documents.tags(repository, NONE)).toMatchObject({ ageMs: 59_000, stale: false });
    expect(asked).toHaveLength(1);
    clock.advance(1000);
    expect(await documents.tags(repository, NONE)).toMatchObject({ ageMs: 0, stale: false });
    expect(asked).toHaveLength(2);
  });

  it("are kept apart by what was asked", async () => {
    const { asked, documents } = setUp();
    await documents.tags(repository, NONE);
    await documents.tags(repository, new URLSearchParams("n=1"));
    await documents.referrers(repository, DIGEST, NONE);
    expect(asked).toEqual(["tags?", "tags?n=1", DIGEST]);
  });

  it("serve up to an age while the registry is out of reach", async () => {
    const { clock, state, documents } = setUp();
    await documents.tags(repository, NONE);
    state.failure = unreachable;
    clock.advance(600_000);
    expect(await documents.tags(repository, NONE)).toMatchObject({ ageMs: 600_000, stale: true });
    clock.advance(1);
    await expect(documents.tags(repository, NONE)).rejects.toBe(unreachable);
  });

  it("are forgotten when the registry denies them", async () => {
    const { clock, state, documents } = setUp();
    await documents.tags(repository, NONE);
    clock.advance(60_000);
    state.failure = denied;
    await expect(documents.tags(repository, NONE)).rejects.toBe(denied);
    state.failure = unreachable;
    await expect(documents.tags(repository, NONE)).rejects.toBe(unreachable);
  });

  it("serve old ones after 8 s of silence, and nothing old when there is none", async () => {
    const { clock, state, documents } = setUp();
    await documents.tags(repository, NONE);
    clock.advance(60_000);
    state.silent = true;
    const stale = documents.tags(repository, NONE);
    await Promise.resolve();
    clock.advance(8000);
    expect(await stale).toMatchObject({ ageMs: 60_000, stale: true });
    const left = new AbortController();
    const never = documents.referrers(repository, DIGEST, NONE, { signal: left.signal });
    clock.advance(8000);
    left.abort(new Error("the client has left"));
    await expect(never).rejects.toThrow("the client has left");
  });

  it("keep what a client that leaves had no time to hear", async () => {
    const { clock, state, documents } = setUp();
    await documents.tags(repository, NONE);
    clock.advance(60_000);
    state.silent = true;
    const left = new AbortController();
    const asked = documents.tags(repository, NONE, { signal: left.signal });
    left.abort(new Error("the client has left"));
    await expect(asked).rejects.toThrow("the client has left");
    state.silent = false;
    state.failure = unreachable;
    expect(await documents.tags(repository, NONE)).toMatchObject({ stale: true });
  });

  it("of many small questions take no more memory than of a few large ones", async () => {
    const { asked, documents } = setUp();
    const ask = async (at: number) =>
      await documents.tags(repository, new URLSearchParams({ last: `${at}${"x".repeat(8000)}` }));
    for (let at = 0; at < 2000; at += 1) await ask(at);
    asked.length = 0;
    await ask(1999);
    expect(asked).toHaveLength(0);
    await ask(0);
    expect(asked).toHaveLength(1);
  });

  it("take 16 MiB, the oldest go first", async () => {
    const { asked, state, documents } = setUp();
    state.sizeBytes = 6 * 1024 * 1024;
    for (const n of ["1", "2", "3", "3", "2", "1"])
      await documents.tags(repository, new URLSearchParams({ n }));
    expect(asked).toEqual(["tags?n=1", "tags?n=2", "tags?n=3", "tags?n=1"]);
  });
});
