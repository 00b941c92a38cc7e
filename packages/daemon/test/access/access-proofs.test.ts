import { isDigest, parseReference, type Tag } from "@shoal/oci";
import { type AuditEvent, CodedError, silentLogger } from "@shoal/runtime";
import { createManualClock } from "@shoal/runtime/testing";
import { createMemoryStore, type Store } from "@shoal/store";
import type { Upstream } from "@shoal/upstream";
import { beforeEach, describe, expect, it } from "vitest";
import { loadAccessProofs } from "../../src/access/access-proofs.ts";

const MINUTE_MS = 60_000;
const { repository } = parseReference("registry.test/team/app");
const open = parseReference("registry.test/open/app").repository;
const manifest = (name: string) => ({ kind: "manifest", name: name as Tag }) as const;
const blob = {
  kind: "blob",
  name: parseReference(`a@sha256:${"0".repeat(64)}`).digest!,
} as const;
const refused = () => new CodedError("ERR_UPSTREAM_DENIED", "no");
const unreachable = () => new CodedError("ERR_UPSTREAM_UNREACHABLE", "nobody there");

describe("proofs of access", () => {
  let store: Store;
  let clock = createManualClock(1_000_000);
  /** What the registry says of each question: thrown when it is an error. */
  let answers: Record<string, CodedError | undefined> = {};
  let asked: string[] = [];
  let denied: AuditEvent[] = [];
  beforeEach(() => {
    store = createMemoryStore();
    clock = createManualClock(1_000_000);
    answers = {};
    asked = [];
    denied = [];
  });

  async function answer(question: string): Promise<void> {
    asked.push(question);
    const failure = answers[question] ?? answers["*"];
    if (failure !== undefined) throw failure;
  }
  const load = async () =>
    await loadAccessProofs(
      {
        store,
        clock,
        logger: silentLogger,
        audit: { record: (event) => denied.push(event) },
        upstream: {
          async headManifest(_repository, name) {
            await answer(`manifest ${name}`);
            return { digest: isDigest(name) ? name : blob.name };
          },
          async manifest() {
            throw refused();
          },
          async blob() {
            await answer("blob");
            return { start: 0, body: (async function* () {})() };
          },
          async tags() {
            await answer("tags");
            return { mediaType: "", bytes: new Uint8Array() };
          },
        } satisfies Pick<Upstream, "headManifest" | "manifest" | "blob" | "tags">,
      },
      {
        provenMs: 5 * MINUTE_MS,
        graceMs: 60 * MINUTE_MS,
        provesAccess: ({ name }) => name === repository.name,
      },
    );

  it("asks once, and again when the time is up", async () => {
    const proofs = await load();
    for (const wanted of [manifest("v1"), manifest("v2"), blob])
      await proofs.prove(repository, wanted);
    expect(asked).toEqual(["manifest v1"]);
    clock.advance(5 * MINUTE_MS);
    await Promise.all([1, 2, 3].map(async () => await proofs.prove(repository, blob)));
    expect(asked).toEqual(["manifest v1", "manifest v1"]);
    await proofs.prove(open, blob);
    expect(asked).toHaveLength(2);
  });

  it("throws what the registry answers, and has nothing to fall back to afterwards", async () => {
    const proofs = await load();
    await proofs.prove(repository, manifest("v1"));
    clock.advance(6 * MINUTE_MS);
    answers = { "*": refused() };
    await expect(proofs.prove(repository, blob)).rejects.toMatchObject({
      code: "ERR_UPSTREAM_DENIED",
    });
    expect(denied).toMatchObject([{ reason: "private", what: "registry.test/team/app" }]);
    answers = { "*": unreachable() };
    await expect(proofs.prove(repository, blob)).rejects.toMatchObject({
      code: "ERR_UPSTREAM_UNREACHABLE",
    });
    expect(denied).toHaveLength(1);
  });

  it("does not take a name that is missing for a refusal of everything", async () => {
    const proofs = await load();
    await proofs.prove(repository, manifest("v1"));
    clock.advance(6 * MINUTE_MS);
    answers = { "manifest typo": new CodedError("ERR_UPSTREAM_NOT_FOUND", "no such tag") };
    await proofs.prove(repository, manifest("typo"));
    expect(asked.slice(1)).toEqual(["manifest typo", "manifest v1"]);
  });

  it("takes a blob for what is wanted when the last manifest is deleted", async () => {
    const proofs = await load();
    await proofs.prove(repository, manifest("v1"));
    clock.advance(6 * MINUTE_MS);
    answers = { "manifest v1": new CodedError("ERR_UPSTREAM_NOT_FOUND", "no such tag") };
    await proofs.prove(repository, blob);
    expect(asked.slice(1)).toEqual(["manifest v1", "blob"]);
  });

  it("holds for a while when the registry can't be asked, over restarts, and no longer", async () => {
    await (await load()).prove(repository, manifest("v1"));
    answers = { "*": unreachable() };
    const proofs = await load();
    clock.advance(59 * MINUTE_MS);
    await proofs.prove(repository, { kind: "tags" });
    expect(asked).toEqual(["manifest v1", "manifest v1"]);
    await proofs.prove(repository, blob);
    expect(asked).toHaveLength(2);
    clock.advance(2 * MINUTE_MS);
    await expect(proofs.prove(repository, blob)).rejects.toMatchObject({
      code: "ERR_UPSTREAM_UNREACHABLE",
    });
  });

  it("is not there for who was never let in", async () => {
    answers = { "*": unreachable() };
    const proofs = await load();
    await expect(proofs.prove(repository, manifest("v1"))).rejects.toMatchObject({
      code: "ERR_UPSTREAM_UNREACHABLE",
    });
  });
});
