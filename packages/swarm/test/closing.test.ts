import { setTimeout as delay } from "node:timers/promises";
import { createMemoryStore, type Ingest, type Store } from "@shoal/store";
import { describe, expect, it } from "vitest";
import { addBlob, createMember, createOrigin, repository } from "./support.ts";

const SIZE = 300_000;

/** A store that takes its time, and what it is busy with. */
function slowStore() {
  const store = createMemoryStore();
  const opening = Promise.withResolvers<void>();
  const committing = Promise.withResolvers<void>();
  const busy = new Set<string>();
  const slow: Store = {
    ...store,
    async openIngest(target, options) {
      busy.add("opening");
      opening.resolve();
      await delay(50);
      const ingest = await store.openIngest(target, options);
      busy.delete("opening");
      busy.add("ingest");
      const { commit } = ingest;
      const close = ingest[Symbol.asyncDispose].bind(ingest);
      return Object.assign<Ingest, Partial<Ingest>>(ingest, {
        async commit() {
          busy.add("committing");
          committing.resolve();
          await delay(50);
          const info = await commit.call(ingest);
          busy.delete("committing");
          return info;
        },
        async [Symbol.asyncDispose]() {
          await close();
          busy.delete("ingest");
        },
      });
    },
  };
  return { store: slow, opening: opening.promise, committing: committing.promise, busy };
}

describe("a swarm that is closed", () => {
  it("lets a commit come to its end first", async () => {
    const origin = createOrigin();
    const { digest } = addBlob(origin, SIZE);
    const { store, committing, busy } = slowStore();
    const member = await createMember(origin, undefined, {}, store);
    const blob = await member.swarm.open({ digest, repository, sizeBytes: SIZE });
    await committing;
    await member[Symbol.asyncDispose]();
    expect([...busy]).toEqual([]);
    expect(store.stat(digest)).toBeDefined();
    await blob.finished();
  });

  it("ends what was beginning, and begins nothing more", async () => {
    const origin = createOrigin();
    origin.chunkMs = 1000;
    const { digest } = addBlob(origin, SIZE);
    const { store, opening, busy } = slowStore();
    const member = await createMember(origin, undefined, {}, store);
    const left = new AbortController();
    const open = (signal?: AbortSignal) =>
      member.swarm.open({ digest, repository, sizeBytes: SIZE }, { signal });
    const opened = open(left.signal).catch((error: unknown) => error);
    await opening;
    left.abort(new Error("the client has left"));
    await member[Symbol.asyncDispose]();
    expect([...busy]).toEqual([]);
    await opened;
    await expect(open()).rejects.toMatchObject({ code: "ERR_TRANSFER_ENDED" });
  });
});
