import { setTimeout as delay } from "node:timers/promises";
import { multiaddr } from "@multiformats/multiaddr";
import { silentLogger } from "@shoal/runtime";
import { createManualClock } from "@shoal/runtime/testing";
import { expect, it } from "vitest";
import { createEphemeralIdentity, createSiteToken, siteOf } from "../src/index.ts";
import { sweepPeerStore } from "../src/peer-store-sweep.ts";
import { createMember, createStranger, multiaddrOf } from "./support.ts";

it("lets those go whom libp2p has dialled in vain, and keeps those that are connected", async () => {
  const token = createSiteToken();
  await using member = await createMember({ token });
  const node = await createStranger(siteOf(token).prologue);
  const clock = createManualClock();
  sweepPeerStore({ node, clock, logger: silentLogger, signal: new AbortController().signal });
  for (let times = 0; times < 20; times++) {
    const { peerId } = await createEphemeralIdentity();
    const nobody = multiaddr(`/ip4/127.0.0.1/tcp/1/p2p/${peerId}`);
    await expect(node.dial(nobody)).rejects.toThrow();
  }
  await node.dial(multiaddrOf(member));
  const noted = async () => (await node.peerStore.all()).map(({ id }) => id.toString());
  expect((await noted()).length).toBeGreaterThanOrEqual(21);
  for (let minute = 0; minute < 2; minute++) {
    clock.advance(60_000);
    await delay(50);
    expect(await noted()).toEqual([member.self]);
  }
  await node.stop();
});
