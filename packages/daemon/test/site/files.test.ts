import { chmod, mkdtemp, readFile, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  createEphemeralIdentity,
  createJoinToken,
  createSiteToken,
  parseJoinToken,
  siteOf,
} from "@shoal/network";
import { silentLogger } from "@shoal/runtime";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openJoinTokens } from "../../src/site/join-tokens.ts";
import { loadKnownMembers } from "../../src/site/known-members.ts";
import { createMembershipFile } from "../../src/site/membership-file.ts";
import { createSiteKeyFile } from "../../src/site/site-key-file.ts";

let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "shoal-site-files-"));
});
afterEach(async () => await rm(folder, { recursive: true, force: true }));

const { id, serviceTag, prologue } = siteOf(createSiteToken());
const site = { id, serviceTag, prologue };

describe("the membership's file", () => {
  it("keeps a record, whole, for its owner alone", async () => {
    const path = join(folder, "deep/membership.json");
    const file = createMembershipFile(path);
    expect(await file.read()).toBeUndefined();
    const record = { site, publicKey: new Uint8Array(32), notices: [new Uint8Array([1, 2])] };
    await Promise.all([file.write({ site, notices: [] }), file.write(record)]);
    expect(await file.read()).toEqual({ ...record, certificate: undefined });
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await readdir(join(folder, "deep"))).toEqual(["membership.json"]);
    await file.remove();
    expect(await file.read()).toBeUndefined();
  });

  it.each(["", "{}", "[1]", '{"version":2}'])(
    "that holds %j is told, and left alone",
    async (text) => {
      const path = join(folder, "membership.json");
      await writeFile(path, text, { mode: 0o600 });
      await expect(createMembershipFile(path).read()).rejects.toMatchObject({
        code: "ERR_SITE_FILE",
        message: expect.stringContaining("is damaged; see that"),
      });
      expect(await readFile(path, "utf8")).toBe(text);
    },
  );
});

describe("the site key's file", () => {
  it("is made once, read when it is there, and refused where others can read it", async () => {
    const path = join(folder, "site-key.json");
    const file = createSiteKeyFile(path);
    await expect(file.need(id)).rejects.toMatchObject({
      code: "ERR_SITE_KEY",
      message: expect.stringContaining(`bring the key back to ${path}`),
    });
    const { publicKey } = await file.create(id);
    expect((await file.need(id)).publicKey).toEqual(publicKey);
    await expect(file.create(id)).rejects.toMatchObject({ code: "ERR_SITE_KEY" });
    await expect(file.read("0".repeat(32))).rejects.toThrow("is of another site");
    await chmod(path, 0o640);
    await expect(file.read(id)).rejects.toThrow("is open to other users");
  });
});

describe("join tokens", () => {
  const never = (): boolean => false;
  async function createOne(uses: number, open = openJoinTokens) {
    let nowMs = 1000;
    const path = join(folder, "join-tokens.json");
    const tokens = await open(path, () => nowMs);
    const text = createJoinToken(site, new Uint8Array(32));
    const token = parseJoinToken(text);
    await tokens.add({ id: token.id, publicKey: token.publicKey, uses, notAfterMs: 2000 });
    return { tokens, token, text, path, later: (ms: number) => (nowMs = ms) };
  }

  it("are good for so many machines, each counted once, until they expire, also over a restart", async () => {
    const { tokens, token, path, later } = await createOne(2);
    for (const peer of ["a", "b", "a"]) {
      expect(tokens.joinKey(token.id, peer, never)).toEqual(token.publicKey);
      await tokens.use(token.id, peer);
    }
    const again = await openJoinTokens(path, () => 1000);
    for (const each of [tokens, again]) {
      expect(each.joinKey(token.id, "c", never)).toBeUndefined();
      await expect(each.use(token.id, "c")).rejects.toMatchObject({ code: "ERR_JOIN_TOKENS" });
      expect(each.joinKey(token.id, "a", never)).toBeDefined();
    }
    later(2000);
    expect(tokens.joinKey(token.id, "a", never)).toBeUndefined();
  });

  it("give no more uses than they have to many at once", async () => {
    const { tokens, token } = await createOne(3);
    const peers = Array.from({ length: 10 }, (_, i) => `peer${i}`);
    const used = await Promise.allSettled(
      peers.map(async (peer) => await tokens.use(token.id, peer)),
    );
    expect(used.filter(({ status }) => status === "fulfilled")).toHaveLength(3);
  });

  it("end with the machines that have used them and were revoked since", async () => {
    const { tokens, token } = await createOne(5);
    await tokens.use(token.id, "a");
    const revoked = (peer: string, sinceMs: number): boolean => peer === "a" && sinceMs <= 1500;
    expect(tokens.joinKey(token.id, "new", revoked)).toBeUndefined();
    expect(tokens.joinKey(token.id, "new", (peer) => peer === "b")).toBeDefined();
  });

  it("are kept without what they could be made from", async () => {
    const { text, path } = await createOne(1);
    const kept = await readFile(path, "utf8");
    expect(kept).not.toContain(text.replaceAll("-", "").slice(-20));
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  it("are a hundred at most", async () => {
    const { tokens } = await createOne(1);
    const add = async (n: number): Promise<void> =>
      await tokens.add({
        id: String(n),
        publicKey: new Uint8Array(32),
        uses: 1,
        notAfterMs: 2000,
      });
    for (let n = 1; n < 100; n++) await add(n);
    await expect(add(100)).rejects.toMatchObject({ code: "ERR_JOIN_TOKENS" });
  });
});

describe("known members", () => {
  it("are kept by their newest certificate, and nobody gets another's name", async () => {
    const rows = new Map<string, never>();
    const table = {
      get: async (key: string) => rows.get(key),
      put: async (key: string, value: unknown) => void rows.set(key, value as never),
      delete: async (key: string) => void rows.delete(key),
      async *entries() {
        yield* rows;
      },
    };
    const { peerId: peer } = await createEphemeralIdentity();
    const { peerId: other } = await createEphemeralIdentity();
    let current = "here";
    const load = async () => await loadKnownMembers(table, silentLogger, () => current);
    const known = await load();
    const member = {
      site: "here",
      peer,
      name: "alpha",
      roles: ["member"],
      issuedAtMs: 2,
      notAfterMs: 9,
    };
    known.saw(member);
    known.saw({ ...member, name: "older", issuedAtMs: 1 });
    for (const each of [known, await load()]) {
      expect(each.list()).toEqual([member]);
      expect(each.freeName("alpha", peer)).toBe("alpha");
      expect(each.freeName("alpha", other)).toBe(`alpha-${other.slice(-6)}`);
      expect(each.freeName("beta", other)).toBe("beta");
    }
    // The machine has gone to another site, and there the first one comes too.
    current = "there";
    for (const each of [known, await load()]) {
      expect(each.list()).toEqual([]);
      expect(each.freeName("alpha", other)).toBe("alpha");
    }
    known.saw({ ...member, site: "there", issuedAtMs: 1 });
    expect((await load()).list()).toMatchObject([{ site: "there", peer }]);
  });
});
