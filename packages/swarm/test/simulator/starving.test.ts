import { digestOf, parseReference } from "@shoal/oci";
import { noMetrics, silentLogger } from "@shoal/runtime";
import { describe, expect, it } from "vitest";
import { createSwarm, decodeRequest, encodeReply, rank } from "../../src/index.ts";
import { createEventQueue } from "../../src/simulator/event-queue.ts";
import { createFairLinks } from "../../src/simulator/fair-links.ts";
import { createPieceStore } from "../../src/simulator/piece-store.ts";
import { seededRandom } from "../../src/simulator/random.ts";
import { createVirtualSite } from "../../src/simulator/virtual-site.ts";
import { createVirtualUpstream } from "../../src/simulator/virtual-upstream.ts";
import { testPeerId } from "../../src/testing.ts";

const MIB = 1024 * 1024;
const RATE = 12_500;

describe("a coordinator that answers and leases nothing", () => {
  it("is got round, and one copy is fetched all the same", async () => {
    const queue = createEventQueue();
    const links = createFairLinks(queue, 1);
    const uplink = links.add(RATE);
    const site = createVirtualSite({ queue, links }, { latencyMs: 0.5 });
    const names = ["starver", "a", "b", "c"].map(testPeerId);
    const starver = names[0]!;
    let digest = digestOf(Buffer.from("0"));
    for (let n = 1; rank(names, digest)[0] !== starver; n++)
      digest = digestOf(Buffer.from(String(n)));
    const sizeBytes = 32 * MIB;
    const repository = parseReference("registry.test/app").repository;

    site.add(starver, RATE).transport.handle(async (_peer, lane, frame) => {
      if (lane === "bulk" || decodeRequest(frame).type !== "sync")
        return [encodeReply({ type: "done" })];
      const nothing = { holders: [], neighbours: [], leases: [], participants: 9, hope: true };
      return [encodeReply({ type: "synced", epoch: 1, retryMs: 500, ...nothing })];
    });
    let done = 0;
    for (const [index, name] of names.slice(1).entries()) {
      const { transport, down } = site.add(name, RATE);
      const registry = { sizeBytes, latencyMs: 0.5 };
      const swarm = await createSwarm({
        transport,
        store: createPieceStore(),
        upstream: createVirtualUpstream({ queue, links }, registry, [uplink, down]),
        clock: queue,
        random: seededRandom(index),
        logger: silentLogger,
        metrics: noMetrics,
      });
      void (async () => {
        const blob = await swarm.open({ digest, sizeBytes, repository });
        await blob.finished();
        done += 1;
      })();
    }
    await queue.run(() => done === 3, 60_000);
    expect(links.passed(uplink) / sizeBytes).toBeLessThan(1.05);
    // Five seconds of doubt, then the blob.
    expect(queue.now()).toBeLessThan(5500 + (1.3 * sizeBytes) / RATE);
  });
});
