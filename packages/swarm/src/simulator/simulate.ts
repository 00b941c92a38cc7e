import { digestOf, parseReference } from "@shoal/oci";
import { noMetrics, silentLogger } from "@shoal/runtime";
import { pieceGeometry } from "@shoal/store";
import { rank } from "../rendezvous.ts";
import { createSwarm } from "../swarm.ts";
import { testPeerId } from "../test-peer-id.ts";
import type { OpenBlob, Swarm } from "../types.ts";
import { decodeRequest } from "../wire/codec.ts";
import { createEventQueue } from "./event-queue.ts";
import { createFairLinks, type LinkIndex } from "./fair-links.ts";
import { createPieceStore } from "./piece-store.ts";
import { seededRandom } from "./random.ts";
import { createVirtualSite, type VirtualMember } from "./virtual-site.ts";
import { createVirtualUpstream } from "./virtual-upstream.ts";
import { gathered } from "./zeros.ts";

/** Whom a mishap befalls: ranks in the order of the blob's coordinators, or that many others at random. */
export type Whom = "coordinator" | "stand-in" | "lessee" | number;

/** What happens when the members have that share of the blob, on average. */
export interface Mishap {
  readonly whom: Whom;
  readonly atShare: number;
}

/** What is simulated: every member pulls one blob of a registry. Rates in bytes a second, times in ms. */
export interface Situation {
  readonly members: number;
  readonly sizeBytes: number;
  readonly uplinkBytesPerSecond: number;
  readonly lanBytesPerSecond: number;
  /** One way. */
  readonly latencyMs: number;
  /** The members begin within this time, at random. */
  readonly withinMs: number;
  readonly seed: number;
  readonly kill?: readonly Mishap[];
  /** Ways to the registry that slow down to 64 KiB/s. */
  readonly slow?: readonly Mishap[];
  /** So many racks of as many members each, behind links of that rate. @default one LAN */
  readonly racks?: { readonly count: number; readonly bytesPerSecond: number };
  /** How often rates are worked out anew. @default a hundredth of what a piece takes at 24 at a time */
  readonly stepMs?: number;
  /** Counts control requests by type too. */
  readonly census?: boolean;
}

export interface SimulationResult {
  readonly sizeBytes: number;
  readonly uplinkBytes: number;
  /** Bytes that crossed the uplink over the blob's size. */
  readonly egressRatio: number;
  /** With `racks`: bytes into the rack that took the most, over the blob's size. */
  readonly rackRatio?: number;
  /** When the last byte crossed it, from the first member's start. */
  readonly uplinkSeconds: number;
  /** Members that have the blob, without those that were killed. */
  readonly finished: number;
  /** From the first member's start to the last one's end. */
  readonly makespanSeconds: number;
  /** When each member that lives on was done, ascending, from the first one's start. */
  readonly finishSeconds: readonly number[];
  /** The blob's size over the slower of uplink and LAN. */
  readonly boundSeconds: number;
  readonly boundRatio: number;
  /** Control requests and answers, and block requests. */
  readonly messagesMean: number;
  readonly messagesMax: number;
  readonly blockRequestsMean: number;
  /** Of those, refused for want of a slot or a piece. */
  readonly refusedBlocksMean: number;
  /** With `census`: control requests of all members. */
  readonly byType: Readonly<Record<string, number>>;
  readonly events: number;
}

const SLOW_BYTES_PER_MS = 64;
const OUTSTANDING = 24;
/** A simulation that takes this many times the bound is given up. */
const HOPELESS = 40;
const REPOSITORY = parseReference("registry.test/app").repository;

interface Machine {
  readonly member: VirtualMember;
  readonly swarm: Swarm;
  readonly registryPath: LinkIndex;
  blob: OpenBlob | undefined;
  killed: boolean;
  doneMs: number | undefined;
  failure: unknown;
}

/**
 * Runs the engine of every member in virtual time.
 * @throws what a pull fails with, and RangeError when one does not end
 */
export async function simulate(situation: Situation): Promise<SimulationResult> {
  const { members, sizeBytes, latencyMs, seed } = situation;
  const uplinkPerMs = situation.uplinkBytesPerSecond / 1000;
  const lanPerMs = situation.lanBytesPerSecond / 1000;
  const { pieceSizeBytes } = pieceGeometry(sizeBytes);
  const queue = createEventQueue();
  const pieceMs = (OUTSTANDING * Math.min(sizeBytes, pieceSizeBytes)) / lanPerMs;
  const links = createFairLinks(queue, situation.stepMs ?? pieceMs / 100);
  const uplink = links.add(uplinkPerMs);
  const random = seededRandom(seed);
  const census = situation.census === true;
  const site = createVirtualSite(
    { queue, links },
    { latencyMs, typeOf: census ? (frame) => decodeRequest(frame).type : undefined },
  );
  const digest = digestOf(Buffer.from(`simulated ${seed}`));
  const machines = new Map<string, Machine>();

  let uplinkMs = 0;
  const onChunk = (): void => {
    uplinkMs = queue.now();
  };

  const racks = Array.from({ length: situation.racks?.count ?? 0 }, (_, index) => ({
    zone: `rack${index}`,
    up: links.add(situation.racks!.bytesPerSecond / 1000),
    down: links.add(situation.racks!.bytesPerSecond / 1000),
  }));
  const rackOf = (index: number): (typeof racks)[number] | undefined =>
    racks[index % Math.max(1, racks.length)];
  const joined = Array.from({ length: members }, (_, index) =>
    site.add(testPeerId(`machine ${index}`), lanPerMs, rackOf(index)),
  );
  for (const [index, member] of joined.entries()) {
    const registryPath = links.add(lanPerMs);
    // A site of long standing: nobody announces anything to anybody.
    let settled = false;
    const swarm = await createSwarm(
      {
        transport: {
          ...member.transport,
          members: () => (settled ? member.transport.members() : []),
        },
        store: createPieceStore(),
        upstream: createVirtualUpstream({ queue, links }, { sizeBytes, latencyMs, onChunk }, [
          uplink,
          ...(rackOf(index) === undefined ? [] : [rackOf(index)!.down]),
          member.down,
          registryPath,
        ]),
        clock: queue,
        random: seededRandom(seed * 1_000_003 + index),
        logger: silentLogger,
        metrics: noMetrics,
      },
      { allocate: gathered },
    );
    settled = true;
    machines.set(member.transport.self, {
      member,
      swarm,
      registryPath,
      blob: undefined,
      killed: false,
      doneMs: undefined,
      failure: undefined,
    });
  }

  async function pull(machine: Machine): Promise<void> {
    try {
      machine.blob = await machine.swarm.open({ digest, sizeBytes, repository: REPOSITORY });
      for await (const _ of machine.blob.stream());
      machine.doneMs = queue.now();
    } catch (error) {
      machine.failure = error ?? new RangeError("a pull failed");
    }
  }

  function shareArrived(): number {
    let arrived = 0;
    for (const { blob } of machines.values()) arrived += blob?.progress().arrivedBytes ?? 0;
    return arrived / (members * sizeBytes);
  }

  function victim(whom: Whom): Machine | undefined {
    const living = [...machines.entries()].filter(([, { killed }]) => !killed);
    const ranked = rank(
      living.map(([peer]) => peer as never),
      digest,
    );
    if (whom === "coordinator") return machines.get(ranked[0] ?? "");
    if (whom === "stand-in") return machines.get(ranked[1] ?? "");
    const others = ranked.slice(2);
    return machines.get(others[Math.floor(random() * others.length)] ?? "");
  }

  function watch(mishaps: readonly Mishap[], befall: (machine: Machine) => void): void {
    for (const { whom, atShare } of mishaps) {
      const look = (): void => {
        if (shareArrived() < atShare) {
          queue.schedule(10, look);
          return;
        }
        for (let left = typeof whom === "number" ? whom : 1; left > 0; left--) {
          const machine = victim(whom);
          if (machine !== undefined) befall(machine);
        }
      };
      look();
    }
  }

  watch(situation.kill ?? [], (machine) => {
    machine.killed = true;
    machine.member.kill();
    links.setRate(machine.registryPath, 0);
  });
  watch(situation.slow ?? [], (machine) => links.setRate(machine.registryPath, SLOW_BYTES_PER_MS));

  const starts = [...machines.values()].map((_, index) =>
    index === 0 ? 0 : random() * situation.withinMs,
  );
  for (const [index, machine] of [...machines.values()].entries())
    queue.at(starts[index]!, () => void pull(machine));

  const boundSeconds =
    sizeBytes / Math.min(situation.uplinkBytesPerSecond, situation.lanBytesPerSecond);
  const waiting = new Set(machines.values());
  await queue.run(
    () => {
      for (const machine of waiting) {
        if (machine.failure !== undefined && !machine.killed) throw machine.failure;
        if (machine.doneMs === undefined && !machine.killed) return false;
        waiting.delete(machine);
      }
      return true;
    },
    situation.withinMs + HOPELESS * boundSeconds * 1000 + 60_000,
  );

  const survivors = [...machines.values()].filter(({ killed }) => !killed);
  const finishSeconds = survivors.map(({ doneMs }) => doneMs! / 1000).sort((a, b) => a - b);
  const makespanSeconds = finishSeconds.at(-1)!;
  const sent = [...machines.values()].map(({ member }) => member.sent);
  const mean = (values: readonly number[]): number =>
    values.reduce((sum, value) => sum + value, 0) / values.length;
  const byType: Record<string, number> = {};
  for (const one of sent)
    for (const [type, count] of one.byType) byType[type] = (byType[type] ?? 0) + count;
  const uplinkBytes = links.passed(uplink);
  return {
    sizeBytes,
    uplinkBytes,
    egressRatio: uplinkBytes / sizeBytes,
    uplinkSeconds: uplinkMs / 1000,
    ...(racks.length === 0
      ? {}
      : { rackRatio: Math.max(...racks.map(({ down }) => links.passed(down))) / sizeBytes }),
    finished: survivors.length,
    makespanSeconds,
    finishSeconds,
    boundSeconds,
    boundRatio: makespanSeconds / boundSeconds,
    messagesMean: mean(sent.map(({ messages }) => messages)),
    messagesMax: Math.max(...sent.map(({ messages }) => messages)),
    blockRequestsMean: mean(sent.map(({ blockRequests }) => blockRequests)),
    refusedBlocksMean: mean(sent.map(({ busy }) => busy)),
    byType,
    events: queue.ran,
  };
}
