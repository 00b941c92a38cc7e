import { fork } from "node:child_process";
import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import type { Connection } from "@libp2p/interface";
import type { AuditEvent } from "@shoal/runtime";
import { describe, expect, it } from "vitest";
import { createEphemeralIdentity, createSiteToken, siteOf } from "../src/index.ts";
import { createRogue } from "./rogue.ts";
import { createMember, createStranger, multiaddrOf, portOf, until } from "./support.ts";

async function sendRaw(connection: Connection, protocol: string, bytes: Uint8Array) {
  const stream = await connection.newStream(protocol);
  stream.send(bytes);
  return stream;
}

describe("a rogue member", () => {
  it.each([
    ["/shoal/control/1", 256 * 1024 + 1],
    ["/shoal/bulk/1", 64 * 1024 + 1],
    ["/shoal/beat/1", 0xffff_ffff],
    ["/shoal/site/1", 256 * 1024 + 1],
  ])("is cut for a frame over the limit of %s", async (protocol, length) => {
    const token = createSiteToken();
    await using member = await createMember({ token });
    member.handle(async () => []);
    await using rogue = await createRogue(member, token);
    const head = Buffer.alloc(4);
    head.writeUInt32BE(length);
    await sendRaw(rogue.connection, protocol, head);
    await until(() => member.members().length === 0);
  });

  it("is cut for asking again before it was answered, and its handlers hear of it", async () => {
    const token = createSiteToken();
    await using member = await createMember({ token });
    const stopped = Promise.withResolvers<void>();
    let asked = false;
    member.handle(async (_peer, _lane, _frame, { signal }) => {
      asked = true;
      signal.addEventListener("abort", () => stopped.resolve());
      return await new Promise<never>(() => undefined);
    });
    await using rogue = await createRogue(member, token);
    const frame = Buffer.from([0, 0, 0, 1, 9]);
    const stream = await sendRaw(rogue.connection, "/shoal/control/1", frame);
    await until(() => asked);
    stream.send(Buffer.concat([frame, frame, frame]));
    await until(() => member.members().length === 0);
    await stopped.promise;
  });

  it("gets no more than 16 streams of a lane", async () => {
    const token = createSiteToken();
    await using member = await createMember({ token });
    member.handle(async (_peer, _lane, frame) => [frame]);
    await using rogue = await createRogue(member, token);
    let answered = 0;
    for (let i = 0; i < 24; i++) {
      const stream = await sendRaw(
        rogue.connection,
        "/shoal/bulk/1",
        Buffer.from([0, 0, 0, 1, 1]),
      ).catch(() => undefined);
      stream?.addEventListener("message", () => (answered += 1));
    }
    await delay(200);
    expect(answered).toBeGreaterThan(0);
    expect(answered).toBeLessThanOrEqual(16);
  });

  it("that answers with too much is cut by who asked", async () => {
    const token = createSiteToken();
    await using member = await createMember({ token });
    await using rogue = await createRogue(member, token);
    await rogue.host.handle("/shoal/control/1", (stream) => {
      stream.send(Buffer.from([0, 4, 0, 1]));
    });
    const asked = member.request(rogue.peer, "control", new Uint8Array(1));
    await expect(asked).rejects.toMatchObject({ code: "ERR_PEER_PROTOCOL" });
    await until(() => member.members().length === 0);
  });
});

describe("a handler", () => {
  it("hears that its requester has given up", async () => {
    const token = createSiteToken();
    await using a = await createMember({ token });
    await using b = await createMember({ token, peers: a.listenAddresses() });
    await until(() => a.members().length === 1 && b.members().length === 1);
    const stopped = Promise.withResolvers<void>();
    b.handle(async (_peer, _lane, _frame, { signal }) => {
      signal.addEventListener("abort", () => stopped.resolve());
      return await new Promise<never>(() => undefined);
    });
    const signal = AbortSignal.timeout(50);
    const given = a.request(b.self, "control", new Uint8Array(1), { signal });
    await expect(given).rejects.toMatchObject({ name: "TimeoutError" });
    await stopped.promise;
  });

  it("that gives too much fails that request", async () => {
    const token = createSiteToken();
    await using a = await createMember({ token });
    await using b = await createMember({ token, peers: a.listenAddresses() });
    await until(() => a.members().length === 1 && b.members().length === 1);
    b.handle(async () => [new Uint8Array(300 * 1024)]);
    const asked = a.request(b.self, "control", new Uint8Array(1));
    await expect(asked).rejects.toMatchObject({ code: "ERR_PEER_UNREACHABLE" });
    expect(a.members()).toEqual([b.self]);
  });
});

describe("configured addresses", () => {
  it("may hold this machine's own, as in a list that the whole site shares", async () => {
    const token = createSiteToken();
    await using a = await createMember({ token });
    const port = portOf(a);
    await a[Symbol.asyncDispose]();
    await using again = await createMember({ token, port, peers: [`127.0.0.1:${port}`] });
    await using b = await createMember({ token, peers: [`127.0.0.1:${port}`] });
    await until(() => again.members().length === 1 && b.members().length === 1);
    await delay(300);
    expect(again.members()).toEqual([b.self]);
  });

  it("may get a machine with a new identity", async () => {
    const token = createSiteToken();
    const first = await createMember({ token });
    const port = portOf(first);
    await using b = await createMember({ token, peers: [`127.0.0.1:${port}`] });
    await until(() => b.members().length === 1);
    await first[Symbol.asyncDispose]();
    await until(() => b.members().length === 0);
    await using second = await createMember({ token, port });
    await until(() => b.members()[0] === second.self);
  });
});

describe("silence", () => {
  it("during the admission or the handshake ends in a closed connection", {
    timeout: 20_000,
  }, async () => {
    const token = createSiteToken();
    await using member = await createMember({ token });
    const host = await createStranger(siteOf(token).prologue);
    const [idle, slow] = [
      await host.dial(multiaddrOf(member)),
      await (await createStranger(siteOf(token).prologue)).dial(multiaddrOf(member)),
    ];
    await sendRaw(slow, "/shoal/admit/1", Buffer.from([0, 0, 0, 40, 1]));
    const raw = connect(portOf(member), "127.0.0.1").resume();
    raw.on("error", () => undefined);
    await Promise.all([
      until(() => idle.status !== "open", 10_000),
      until(() => slow.status !== "open", 10_000),
      until(() => raw.destroyed, 10_000),
    ]);
    await host.stop();
  });
});

describe("the audit log", () => {
  it("has strangers: those of another site, and those without a proof", async () => {
    const recorded: AuditEvent[] = [];
    const token = createSiteToken();
    await using member = await createMember(
      { token },
      { audit: { record: (event) => recorded.push(event) } },
    );
    const foreign = await createStranger(siteOf(createSiteToken()).prologue);
    await expect(foreign.dial(multiaddrOf(member))).rejects.toThrow();
    const denied = { kind: "deny", at: "admission", reason: "not-admitted", who: "127.0.0.1" };
    await until(() => recorded.length === 1);
    const identity = await createEphemeralIdentity();
    const near = await createStranger(siteOf(token).prologue, identity);
    const connection = await near.dial(multiaddrOf(member));
    await sendRaw(connection, "/shoal/admit/1", Buffer.from([0, 0, 0, 1, 1]));
    await until(() => recorded.length === 2);
    expect(recorded).toEqual([denied, { ...denied, what: identity.peerId }]);
    await Promise.all([foreign.stop(), near.stop()]);
  });
});

describe("a killed process", () => {
  it("is noticed in well under a second", async () => {
    const token = createSiteToken();
    await using a = await createMember({ token });
    const child = fork(`${import.meta.dirname}/member-process.ts`, [token, ...a.listenAddresses()]);
    await until(() => a.members().length === 1, 15_000);
    child.kill("SIGKILL");
    await until(() => a.members().length === 0, 500);
  });
});
