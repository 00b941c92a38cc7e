import { randomBytes } from "node:crypto";
import { isIPv4 } from "node:net";
import type { Clock, Logger } from "@shoal/runtime";
import multicastDns from "multicast-dns";
import { type Endpoint, endpointOf, ownAddresses } from "./addresses.ts";

const FIRST_INTERVAL_MS = 10_000;
/**
 * Every question is answered by everybody, to everybody: with one each three seconds for the whole site, answers
 * grow with it and no faster. Whoever is new asks at once, and whoever hears an answer need not ask.
 */
const INTERVAL_PER_MEMBER_MS = 3000;
/** The second question, because the first may be lost while a switch learns of the group. */
const REPEAT_MS = 1000;
/** Answers wait a moment, so that those of a large site don't collide and many questions get one. */
const ANSWER_MS = { least: 20, spread: 80 };
const TTL_SECONDS = 120;
const MAX_ADDRESSES = 16;

export interface MdnsInit {
  readonly serviceTag: string;
  /** UDP port. @default 5353 */
  readonly port?: number;
  /** This machine's multiaddrs, each ending in `/p2p/` and its peer id. */
  readonly addresses: () => readonly string[];
  readonly members: () => number;
  /** Each sighting, repeated ones and this machine's own too. */
  readonly onSighting: (peer: string, endpoints: readonly Endpoint[]) => void;
}

/** Looking for members by multicast DNS. */
export interface Mdns extends AsyncDisposable {
  /** Interfaces on which it is spoken just now. */
  readonly interfaces: number;
}

export interface MdnsComponents {
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
}

type Instance = ReturnType<typeof multicastDns>;
/** The part of a packet that is read. */
type Response = Pick<multicastDns.ResponsePacket, "answers" | "additionals">;

/**
 * Looks for members and answers those that look, in the format of libp2p's mDNS, on every real interface:
 * the kernel's own choice would be one of them, and none on a machine without a default route.
 */
export function startMdns(components: MdnsComponents, init: MdnsInit): Mdns {
  const { clock, random, logger } = components;
  const { serviceTag } = init;
  const name = `${randomBytes(16).toString("hex")}.${serviceTag}`;
  const instances = new Map<string, Instance>();
  /** Addresses that could not be listened on when last tried: they are tried again with each question. */
  const failing = new Set<string>();
  let timer: Disposable | undefined;

  function listenOn(address: string): void {
    const instance = multicastDns({ interface: address, bind: "0.0.0.0", port: init.port ?? 5353 });
    let pending = false;
    instance.on("query", ({ questions }) => {
      const asked = (questions ?? []).some((question) => question.name === serviceTag);
      if (!asked || pending) return;
      pending = true;
      clock.schedule(ANSWER_MS.least + random() * ANSWER_MS.spread, () => {
        pending = false;
        if (instances.get(address) === instance) instance.respond(answer());
      });
    });
    instance.on("response", (packet) => {
      const seen = sightingOf(packet, serviceTag);
      if (seen !== undefined) init.onSighting(seen.peer, seen.endpoints);
    });
    instance.on("warning", (error) => logger.debug({ error, address }, "mDNS met a fault"));
    instance.on("ready", () => failing.delete(address));
    instance.on("error", (error) => {
      failing.add(address);
      logger.warn(
        { error, address },
        "mDNS can't listen here; stop what holds UDP port 5353, or set swarm.peers",
      );
      close(address);
    });
    instances.set(address, instance);
  }

  function close(address: string): void {
    const instance = instances.get(address);
    instances.delete(address);
    instance?.destroy();
  }

  function answer(): multicastDns.ResponseOutgoingPacket {
    const record = { class: "IN", ttl: TTL_SECONDS } as const;
    const texts = init.addresses().slice(0, MAX_ADDRESSES);
    return {
      answers: [
        { ...record, name: serviceTag, type: "PTR", data: name },
        ...texts.map(
          (text) => ({ ...record, name, type: "TXT", data: `dnsaddr=${text}` }) as const,
        ),
      ],
    };
  }

  /** Interfaces come and go: they are looked up for each question. */
  function ask(): void {
    const present = ownAddresses().filter(({ internal, address }) => !internal && isIPv4(address));
    const addresses = new Set(present.map(({ address }) => address));
    for (const address of Array.from(instances.keys())) if (!addresses.has(address)) close(address);
    for (const address of addresses) if (!instances.has(address)) listenOn(address);
    for (const instance of instances.values())
      instance.query({ questions: [{ name: serviceTag, type: "PTR" }] });
  }

  function keepAsking(): void {
    ask();
    const delayMs = Math.max(FIRST_INTERVAL_MS, INTERVAL_PER_MEMBER_MS * init.members());
    timer = clock.schedule(delayMs * (0.9 + random() / 5), keepAsking);
  }

  ask();
  timer = clock.schedule(REPEAT_MS, keepAsking);
  return {
    get interfaces() {
      return [...instances.keys()].filter((address) => !failing.has(address)).length;
    },
    async [Symbol.asyncDispose]() {
      timer?.[Symbol.dispose]();
      const closing = [...instances.values()].map(async (instance) => {
        const closed = Promise.withResolvers<void>();
        instance.destroy(() => closed.resolve());
        await closed.promise;
      });
      instances.clear();
      await Promise.all(closing);
    },
  };
}

/** The peer that an answer tells of, with the addresses that can be dialled. */
export function sightingOf(
  { answers = [], additionals = [] }: Response,
  serviceTag: string,
): { readonly peer: string; readonly endpoints: readonly Endpoint[] } | undefined {
  if (!answers.some(({ name, type }) => type === "PTR" && name === serviceTag)) return undefined;
  const texts = [...answers, ...additionals]
    .flatMap((record) => (record.type === "TXT" ? record.data : []))
    .map((data) => /^dnsaddr=(\/.{1,200})\/p2p\/([A-Za-z0-9]{1,64})$/.exec(data.toString()))
    .filter((match) => match !== null);
  const peer = texts[0]?.[2];
  if (peer === undefined) return undefined;
  const endpoints = texts
    .filter((match) => match[2] === peer)
    .slice(0, MAX_ADDRESSES)
    .flatMap((match) => endpointOf(match[1]!) ?? []);
  return { peer, endpoints };
}
