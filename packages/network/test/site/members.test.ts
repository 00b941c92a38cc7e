import { setTimeout as delay } from "node:timers/promises";
import { noise } from "@chainsafe/libp2p-noise";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import type { AuditEvent } from "@shoal/runtime";
import { createLibp2p } from "libp2p";
import { describe, expect, it } from "vitest";
import { grantAdmission } from "../../src/admission.ts";
import { frameStream } from "../../src/frames.ts";
import { createEphemeralIdentity, createSiteToken, type Network } from "../../src/index.ts";
import { signRevocation, signTokenEnd } from "../../src/site/notices.ts";
import { createRogue } from "../rogue.ts";
import { createMember, createStranger, multiaddrOf, until } from "../support.ts";
import { createCertified, createIssuer } from "./certified.ts";
import { createKeyedSite, createPeerId } from "./support.ts";

const met = (...networks: Network[]): boolean =>
  networks.every((network) => network.members().length === networks.length - 1);

describe("members with certificates", () => {
  it("admit each other without a token, and learn names and roles", async () => {
    const site = createKeyedSite();
    await using a = await createCertified(site, { change: { name: "alpha" } });
    const peers = a.network.listenAddresses();
    await using b = await createCertified(site, { peers, change: { name: "beta" } });
    await until(() => met(a.network, b.network));
    expect(a.network.certificateOf(b.network.self)).toMatchObject({ name: "beta" });
    expect(b.network.certificateOf(a.network.self)).toMatchObject({ name: "alpha" });
    a.network.handle(async (_peer, _lane, frame) => [frame]);
    expect(await b.network.request(a.network.self, "control", Buffer.from([7]))).toHaveLength(1);
  });

  it("refuse one that has ended, is another's, or is of another key", async () => {
    const site = createKeyedSite();
    await using member = await createCertified(site);
    const peers = member.network.listenAddresses();
    const past = { issuedAtMs: Date.now() - 2000, notAfterMs: Date.now() - 1000 };
    await using ended = await createCertified(site, { peers, change: past });
    const peer = (await createEphemeralIdentity()).peerId;
    await using borrowed = await createCertified(site, { peers, change: { peer } });
    const forger = { key: createKeyedSite().key, site: site.site };
    await using forged = await createCertified(forger, { peers });
    await using bare = await createMember({
      record: { site: site.site, publicKey: site.key.publicKey, notices: [] },
      peers,
    });
    await delay(500);
    for (const network of [member.network, ended.network, borrowed.network, forged.network, bare])
      expect(network.members()).toEqual([]);
  });

  it("tell a stranger that knows the handshake's secret nothing but random bytes", async () => {
    const site = createKeyedSite();
    await using member = await createCertified(site, { token: site.token });
    const stranger = await createStranger(site.site.prologue);
    for (const protocol of ["/shoal/admit/2", "/shoal/join/1", "/shoal/site/1"]) {
      const connection = await stranger.dial(multiaddrOf(member.network));
      let heard = 0;
      try {
        const stream = await connection.newStream(protocol);
        stream.addEventListener("message", ({ data }) => (heard += data.byteLength));
        // {"nonce": 32 bytes}, then a guess.
        stream.send(
          Buffer.concat([Buffer.from("00000029a1656e6f6e63655820", "hex"), new Uint8Array(32)]),
        );
        await delay(200);
        stream.send(Buffer.from("00000001a0", "hex"));
        await until(() => connection.status !== "open" || stream.status !== "open");
      } catch {
        // Refused: as it should be.
      }
      const nonceBytes = 4 + 1 + "nonce".length + 1 + 2 + 32;
      expect([protocol, heard]).toEqual([protocol, protocol === "/shoal/admit/2" ? nonceBytes : 0]);
      await connection.close();
    }
    await stranger.stop();
  });
});

describe("a revocation", () => {
  it("cuts at once, everywhere, and keeps out who comes again", async () => {
    const site = createKeyedSite();
    const identity = await createEphemeralIdentity();
    await using a = await createCertified(site);
    const peers = a.network.listenAddresses();
    const recorded: AuditEvent[] = [];
    const audit = { record: (event: AuditEvent) => void recorded.push(event) };
    await using b = await createCertified(site, { peers, audit });
    await using c = await createCertified(site, { peers, token: site.token });
    await using d = await createMember({ token: site.token, peers: c.network.listenAddresses() });
    await using bad = await createCertified(site, { peers, identity });
    await until(() => met(a.network, b.network, bad.network, c.network) || d.members().length > 0);
    await until(() => d.members().includes(c.network.self));
    await until(() =>
      [a, b, c].every(({ network }) => network.members().includes(bad.network.self)),
    );
    const startMs = performance.now();
    const revocation = { peer: identity.peerId, beforeMs: Date.now() };
    await a.network.announce([signRevocation(site.key, site.site.id, revocation)]);
    await until(() => bad.network.members().length === 0, 1000);
    expect(performance.now() - startMs).toBeLessThan(1000);
    await until(() => b.kept.at(-1)?.notices.length === 1 && c.kept.at(-1)?.notices.length === 1);
    await delay(500);
    for (const each of [a, b, c]) expect(each.network.members()).not.toContain(identity.peerId);
    // A member that was away hears of it when it is back, whom the revoked one still thinks its friend.
    await using late = await createCertified(site, { peers: bad.network.listenAddresses() });
    await until(() => late.network.members().includes(identity.peerId));
    await using _link = await createCertified(site, {
      peers: [...late.network.listenAddresses(), ...peers],
    });
    await until(() => late.network.members().length > 1);
    await until(() => !late.network.members().includes(identity.peerId));
    expect(late.kept.at(-1)?.notices).toHaveLength(1);
    expect(recorded.filter(({ kind }) => kind !== "deny")).toEqual([
      { kind: "revoke", peer: identity.peerId },
    ]);
  });

  it("ends what is under way, on both lanes and both ways", async () => {
    const site = createKeyedSite();
    await using a = await createCertified(site, { bulkPort: 0 });
    await using b = await createCertified(site, {
      bulkPort: 0,
      peers: a.network.listenAddresses(),
    });
    await until(() => met(a.network, b.network));
    let asked = 0;
    for (const { network } of [a, b])
      network.handle(async (_peer, lane, frame) => {
        if (frame.length === 0) return [frame];
        asked += lane === "bulk" ? 1 : 10;
        return await new Promise<never>(() => undefined);
      });
    // The way over TLS is made by the first requests.
    for (let i = 0; i < 5; i++) {
      await a.network.request(b.network.self, "bulk", new Uint8Array());
      await b.network.request(a.network.self, "bulk", new Uint8Array());
    }
    const pairs = [
      [a.network, b.network],
      [b.network, a.network],
    ] as const;
    const ended = pairs.flatMap(([from, to]) =>
      (["control", "bulk"] as const).map(async (lane) => {
        const error: unknown = await from
          .request(to.self, lane, Buffer.from([1]))
          .catch((failure: unknown) => failure);
        return (error as { code?: string }).code;
      }),
    );
    await until(() => asked === 22);
    const startMs = performance.now();
    const revocation = { peer: b.network.self, beforeMs: Date.now() };
    await a.network.announce([signRevocation(site.key, site.site.id, revocation)]);
    expect(await Promise.all(ended)).toEqual(Array(4).fill("ERR_PEER_UNREACHABLE"));
    expect(performance.now() - startMs).toBeLessThan(1000);
  });

  it("holds after a restart, and a newer certificate brings the machine back", async () => {
    const site = createKeyedSite();
    const identity = await createEphemeralIdentity();
    const beforeMs = Date.now();
    const notices = [signRevocation(site.key, site.site.id, { peer: identity.peerId, beforeMs })];
    await using a = await createCertified(site, { notices });
    const peers = a.network.listenAddresses();
    {
      const change = { issuedAtMs: beforeMs };
      await using bad = await createCertified(site, { peers, identity, change });
      await delay(500);
      expect(bad.network.members()).toEqual([]);
    }
    const change = { issuedAtMs: beforeMs + 1 };
    await using again = await createCertified(site, { peers, identity, change });
    await until(() => met(a.network, again.network));
  });
});

describe("many revocations, one after another", () => {
  it("are all heard within seconds", async () => {
    const site = createKeyedSite();
    await using a = await createCertified(site);
    await using b = await createCertified(site, { peers: a.network.listenAddresses() });
    await until(() => met(a.network, b.network));
    const peers = await Promise.all(Array.from({ length: 12 }, createPeerId));
    for (const peer of peers) {
      await a.network.announce([signRevocation(site.key, site.site.id, { peer, beforeMs: 1 })]);
      await delay(60);
    }
    await until(() => b.network.credentials()?.notices?.revocations.length === 12, 6000);
  });
});

describe("machines that were let in again", () => {
  it("meet each other, too", async () => {
    const site = createKeyedSite();
    const beforeMs = Date.now();
    const identities = [await createEphemeralIdentity(), await createEphemeralIdentity()] as const;
    const notices = identities.map(({ peerId: peer }) =>
      signRevocation(site.key, site.site.id, { peer, beforeMs }),
    );
    await using hub = await createCertified(site, { notices });
    const init = {
      notices,
      peers: hub.network.listenAddresses(),
      change: { issuedAtMs: beforeMs + 1 },
    };
    await using a = await createCertified(site, { ...init, identity: identities[0] });
    await using b = await createCertified(site, { ...init, identity: identities[1] });
    await until(() => met(hub.network, a.network, b.network));
  });
});

describe("what is known of a site", () => {
  it("is kept no more once the machine has gone to another", async () => {
    const site = createKeyedSite();
    const identity = await createEphemeralIdentity();
    const disk = Promise.withResolvers<void>();
    const kept: string[] = [];
    const times = { issuedAtMs: Date.now(), notAfterMs: Date.now() + 60_000 };
    await using network = await createMember(
      {
        record: {
          site: site.site,
          publicKey: site.key.publicKey,
          certificate: site.certify(identity.peerId, times).document,
          notices: [],
        },
      },
      {
        identity,
        async keepRecord(record) {
          kept.push(record.site.id);
          await disk.promise;
        },
      },
    );
    const told = [await createPeerId(), await createPeerId()].map(async (peer) => {
      const revocation = signRevocation(site.key, site.site.id, { peer, beforeMs: 1 });
      await network.announce([revocation]).catch(() => undefined);
    });
    await until(() => kept.length === 1);
    await network.join(createSiteToken());
    disk.resolve();
    await Promise.all(told);
    expect(kept).toEqual([site.site.id]);
  });
});

describe("moving up from the token", () => {
  it("goes on while some have certificates, some the token, and then only certificates", async () => {
    const site = createKeyedSite();
    const identities = await Promise.all([1, 2, 3].map(createEphemeralIdentity));
    const kept: unknown[] = [];
    const [a, b, c] = await Promise.all(
      identities.map(
        async (identity) =>
          await createMember(
            { token: site.token },
            { identity, keepRecord: async (record) => void kept.push(record) },
          ),
      ),
    );
    await using stack = new AsyncDisposableStack();
    for (const network of [a!, b!, c!]) stack.use(network);
    await using hub = await createMember({
      token: site.token,
      peers: [a!, b!, c!].flatMap((network) => network.listenAddresses()),
    });
    await until(() => met(a!, b!, c!, hub));
    let downs = 0;
    for (const network of [a!, b!]) network.on("memberDown", () => (downs += 1));
    const give = async (network: Network): Promise<void> =>
      await network.enter({
        site: site.site,
        publicKey: site.key.publicKey,
        certificate: site.certify(network.self, {
          issuedAtMs: Date.now(),
          notAfterMs: Date.now() + 60_000,
        }).document,
        notices: [],
      });
    await give(a!);
    await until(() => c!.certificateOf(a!.self) !== undefined);
    expect(Buffer.compare(c!.credentials()!.publicKey!, site.key.publicKey)).toBe(0);
    await give(b!);
    await until(() => a!.certificateOf(b!.self) !== undefined);
    await using _new = await createCertified(site, {
      token: site.token,
      peers: c!.listenAddresses(),
    });
    await until(() => met(a!, b!, c!, hub, _new.network));
    expect(downs).toBe(0);
    await a!.announce([signTokenEnd(site.key, site.site.id, Date.now())]);
    // Who has nothing but the token is out; those with certificates have kept their connections.
    await until(() => c!.members().length === 0 && hub.members().length === 0);
    await until(() => met(a!, b!, _new.network));
    expect(downs).toBe(4);
    await delay(300);
    expect(met(a!, b!, _new.network)).toBe(true);
  });
});

describe("a cloned disk", () => {
  it("has no use for the certificate on it, and can be given one of its own", async () => {
    const site = createKeyedSite();
    await using a = await createCertified(site);
    const peer = (await createEphemeralIdentity()).peerId;
    await using clone = await createCertified(site, {
      peers: a.network.listenAddresses(),
      change: { peer },
    });
    await delay(300);
    expect(clone.network.members()).toEqual([]);
    expect(clone.network.credentials()?.certificate).toBeUndefined();
    const times = { issuedAtMs: Date.now(), notAfterMs: Date.now() + 60_000 };
    const certificate = site.certify(clone.network.self, times).document;
    await clone.network.enter({
      site: site.site,
      publicKey: site.key.publicKey,
      certificate,
      notices: [],
    });
    await until(() => met(a.network, clone.network));
  });
});

describe("a member of the version before", () => {
  it("is met by the token, whoever dials, and hears no news", async () => {
    const site = createKeyedSite();
    const identity = await createEphemeralIdentity();
    const old = await createLibp2p({
      privateKey: identity.privateKey,
      addresses: { listen: ["/ip4/127.0.0.1/tcp/0"] },
      transports: [tcp()],
      connectionEncrypters: [noise({ prologueBytes: site.site.prologue })],
      streamMuxers: [yamux()],
    });
    const card = () => ({ addresses: [], roster: [] });
    const admitted: string[] = [];
    await old.handle("/shoal/admit/1", (stream, connection) => {
      const remote = connection.remotePeer.toString();
      const init = { key: site.site.admissionKey, self: identity.peerId, remote, card };
      grantAdmission(frameStream(stream, { readBytes: 2 ** 17, writeBytes: 2 ** 17 }), init).then(
        () => admitted.push(remote),
        () => undefined,
      );
    });
    const port = Number(old.getMultiaddrs()[0]!.toString().split("/")[4]);
    await using member = await createCertified(site, {
      token: site.token,
      peers: [`127.0.0.1:${port}`],
    });
    await until(() => member.network.members().includes(identity.peerId));
    await until(() => admitted.includes(member.network.self));
    await using rogue = await createRogue(member.network, site.token, 2);
    await member.network.announce([signTokenEnd(site.key, site.site.id, Date.now())]);
    await until(() => member.network.members().length === 0);
    await expect(createRogue(member.network, site.token)).rejects.toThrow();
    expect(rogue.connection.status).not.toBe("open");
    await old.stop();
  });
});

describe("a certificate", () => {
  it("that ends cuts its member off, and is renewed before that where the key is", {
    timeout: 20_000,
  }, async () => {
    const site = createKeyedSite();
    const issuer = createIssuer(site, new Map());
    const short = { notAfterMs: Date.now() + 3500 };
    await using alone = await createCertified(site, { change: short });
    await using b = await createCertified(site, {
      change: short,
      peers: alone.network.listenAddresses(),
    });
    await until(() => met(alone.network, b.network));
    await until(() => b.network.members().length === 0);

    const soon = { notAfterMs: Date.now() + 3500 };
    await using holder = await createCertified(site, {
      issuer,
      change: { roles: ["member", "issuer"] },
    });
    await using c = await createCertified(site, {
      change: { ...soon, name: "gamma" },
      peers: holder.network.listenAddresses(),
    });
    let downs = 0;
    await until(() => met(holder.network, c.network));
    c.network.on("memberDown", () => (downs += 1));
    await until(() => issuer.given.length > 0);
    await delay(2500);
    expect(downs).toBe(0);
    expect(holder.network.certificateOf(c.network.self)).toEqual(issuer.given[0]);
    expect(c.kept.at(-1)?.certificate).toEqual(issuer.given[0]!.document);
    expect(issuer.given[0]).toMatchObject({ name: "gamma", roles: ["member"] });
  });
});
