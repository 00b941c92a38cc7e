import { digestOf, parseReference, type Repository } from "@shoal/oci";
import { createMemoryStore } from "@shoal/store";
import { describe, expect, it } from "vitest";
import { loadOrigins, type Privacy } from "../src/origins.ts";

const repositoryOf = (name: string): Repository =>
  parseReference(`registry.test/${name}`).repository;
const secret = repositoryOf("secret/app");
const other = repositoryOf("secret/other");
const open = repositoryOf("open/app");
const content = new TextEncoder().encode("layer");
const digest = digestOf(content);

const privacy = (opened: ReadonlySet<string> = new Set()): Privacy => ({
  isPrivate: ({ name }) => name.startsWith("secret/") && !opened.has(name),
  provesAccess: ({ name }) => name.startsWith("secret/"),
});

describe("origins", () => {
  it("hide what is known from a private repository alone, until the registry confirms another", async () => {
    using origins = await loadOrigins(createMemoryStore(), privacy());
    expect(origins.hides(digest, open)).toBe(false);
    await origins.arriving(digest, secret);
    expect(origins.hides(digest, secret)).toBe(false);
    expect(origins.hides(digest, other)).toBe(true);
    expect(origins.hides(digest, open)).toBe(true);
    expect(origins.hidesFromMembers(digest, "registry.test/open/app")).toBe(true);
    expect(origins.hidesFromMembers(digest, "registry.test/secret/app")).toBe(false);
    await origins.confirmed(digest, other);
    expect(origins.hides(digest, other)).toBe(false);
    expect(origins.hides(digest, open)).toBe(true);
    await origins.confirmed(digest, open);
    expect(origins.hides(digest, open)).toBe(false);
    expect(origins.hides(digest, repositoryOf("open/else"))).toBe(false);
  });

  it("are kept with the store, and go with what they are of", async () => {
    const store = createMemoryStore();
    {
      using origins = await loadOrigins(store, privacy());
      await origins.arriving(digest, secret);
      await store.put(digest, content);
    }
    using origins = await loadOrigins(store, privacy());
    expect(origins.hides(digest, open)).toBe(true);
    await store.remove(digest);
    expect(origins.hides(digest, open)).toBe(false);
  });

  it("leave alone what was here before, from an open repository", async () => {
    const store = createMemoryStore();
    await store.put(digest, content);
    using origins = await loadOrigins(store, privacy());
    await origins.arriving(digest, secret);
    expect(origins.hides(digest, open)).toBe(false);
  });

  it("hide nothing any more once a repository has turned out to be open", async () => {
    const opened = new Set<string>();
    using origins = await loadOrigins(createMemoryStore(), privacy(opened));
    await origins.arriving(digest, secret);
    await origins.confirmed(digest, other);
    opened.add("secret/app");
    expect(origins.hides(digest, open)).toBe(false);
  });
});
