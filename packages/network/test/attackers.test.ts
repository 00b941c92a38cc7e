import { connect, type Socket } from "node:net";
import type { Connection } from "@libp2p/interface";
import { describe, expect, it } from "vitest";
import { requestAdmission } from "../src/admission.ts";
import { type FramedStream, frameStream } from "../src/frames.ts";
import { createEphemeralIdentity, createSiteToken, siteOf } from "../src/index.ts";
import { createRogue, LIMITS } from "./rogue.ts";
import { createMember, createStranger, multiaddrOf, portOf, until } from "./support.ts";

const ADMISSION = "/shoal/admit/1";
const card = () => ({ addresses: [], roster: [] });

async function openAdmission(connection: Connection): Promise<FramedStream> {
  return frameStream(await connection.newStream(ADMISSION), LIMITS);
}

/** A stream that also keeps what is written to it. */
function recorded(stream: FramedStream): { stream: FramedStream; written: Uint8Array[] } {
  const written: Uint8Array[] = [];
  return {
    written,
    stream: {
      ...stream,
      read: stream.read,
      write: async (parts, options) => {
        written.push(Buffer.concat(parts));
        await stream.write(parts, options);
      },
    },
  };
}

describe("a proof of the site's token", () => {
  it("is of no use to who relays it from a member to another", async () => {
    const token = createSiteToken();
    const { prologue, admissionKey } = siteOf(token);
    await using member = await createMember({ token });
    const honest = (await createEphemeralIdentity()).peerId;
    const relay = await createStranger(prologue);
    const stream = await openAdmission(await relay.dial(multiaddrOf(member)));
    const relayed = requestAdmission(stream, {
      key: admissionKey,
      self: honest,
      remote: member.self,
      card,
    });
    await expect(relayed).rejects.toMatchObject({ code: "ERR_ADMISSION" });
    expect(member.members()).toEqual([]);
    await relay.stop();
  });

  it("is of no use a second time, even to who made it", async () => {
    const token = createSiteToken();
    const { prologue, admissionKey } = siteOf(token);
    await using member = await createMember({ token });
    const identity = await createEphemeralIdentity();
    const host = await createStranger(prologue, identity);
    const first = await host.dial(multiaddrOf(member));
    const { stream, written } = recorded(await openAdmission(first));
    await requestAdmission(stream, {
      key: admissionKey,
      self: identity.peerId,
      remote: member.self,
      card,
    });
    await until(() => member.members().length === 1);
    await first.close();
    await until(() => member.members().length === 0);

    const again = await host.dial(multiaddrOf(member), { force: true });
    const replayed = await openAdmission(again);
    const [hello, proof] = written as [Uint8Array, Uint8Array];
    await replayed.write([hello]);
    await replayed.read();
    await replayed.write([proof]);
    await until(() => again.status !== "open");
    expect(member.members()).toEqual([]);
    await host.stop();
  });
});

describe("a flood", () => {
  it("of connections that say nothing keeps no member out", { timeout: 60_000 }, async () => {
    const token = createSiteToken();
    await using member = await createMember({ token });
    const sockets: Socket[] = [];
    // As many as the kernel keeps for a listener, more than may be in their handshake.
    for (let i = 0; i < 120; i++)
      sockets.push(
        connect(portOf(member), "127.0.0.1")
          .on("error", () => undefined)
          .resume(),
      );
    // From the same address, which is held to 50 connections a second.
    await using other = await createMember({ token, peers: member.listenAddresses() });
    await until(() => other.members().length === 1, 40_000);
    await until(() => sockets.every((socket) => socket.destroyed), 20_000);
  });

  it("of control requests leaves the answers to others as they were", {
    timeout: 60_000,
  }, async () => {
    const token = createSiteToken();
    await using member = await createMember({ token });
    member.handle(async (_peer, _lane, frame) => [frame]);
    await using other = await createMember({ token, peers: member.listenAddresses() });
    await until(() => member.members().length === 1 && other.members().length === 1);
    await using rogue = await createRogue(member, token, 2);
    let flooding = true;
    const floods = Array.from({ length: 16 }, async () => {
      const stream = frameStream(await rogue.connection.newStream("/shoal/control/1"), LIMITS);
      while (flooding) {
        await stream.write([new Uint8Array(200_000)]);
        await stream.read();
      }
    });
    for (let asked = 0; asked < 50; asked++)
      expect(
        await other.request(member.self, "control", Buffer.from([asked]), {
          signal: AbortSignal.timeout(5000),
        }),
      ).toHaveLength(1);
    flooding = false;
    await Promise.allSettled(floods);
  });
});
