import { randomBytes } from "node:crypto";
import type { Clock, Logger } from "@shoal/runtime";
import multicastDns from "multicast-dns";
import { type Endpoint, endpointOf, waysTo } from "./addresses.ts";
import type { OwnAddress } from "./interfaces.ts";
import { createMulticastSocket, linksOf, type MulticastLink } from "./multicast-link.ts";

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
/** How soon an address that was added or taken away, or an interface that came back, is noticed. */
const WATCH_MS = 2000;
const TTL_SECONDS = 120;
const MAX_ADDRESSES = 16;

export interface MdnsInit {
  readonly serviceTag: string;
  /** UDP port. @default 5353 */
  readonly port?: number;
  /** This machine's multiaddrs, each ending in `/p2p/` and its peer id. */
  readonly addresses: () => readonly string[];
  /** This machine's addresses on interfaces that members are behind. */
  readonly interfaces: () => readonly OwnAddress[];
  readonly members: () => number;
  /** Each sighting, repeated ones and this machine's own too. */
  readonly onSighting: (peer: string, endpoints: readonly Endpoint[]) => void;
}

/** Looking for members by multicast DNS. */
export interface Mdns extends AsyncDisposable {
  /** Links on which it is spoken just now: addresses for IPv4, interfaces for IPv6. */
  readonly interfaces: number;
}

export interface MdnsComponents {
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
}

/** The part of a packet that is read. */
type Response = Pick<multicastDns.ResponsePacket, "answers" | "additionals">;

interface Instance {
  readonly dns: ReturnType<typeof multicastDns>;
  /** Hears the group on this link again, where the interface went away meanwhile. */
  rejoin(): void;
}

/**
 * Looks for members and answers those that look, in the format of libp2p's mDNS, on every real interface, over
 * IPv4 and IPv6: the kernel's own choice would be one of them, and none on a machine without a default route.
 */
export function startMdns(components: MdnsComponents, init: MdnsInit): Mdns {
  const { clock, random, logger } = components;
  const { serviceTag } = init;
  const name = `${randomBytes(16).toString("hex")}.${serviceTag}`;
  /** By the link's key. */
  const instances = new Map<string, Instance>();
  /** Links that could not be listened on when last tried: they are tried again with each question. */
  const failing = new Set<string>();
  let known = "";
  let timer: Disposable | undefined;
  let watch: Disposable | undefined;

  function listenOn(link: MulticastLink): void {
    const { key } = link;
    const socket = createMulticastSocket(link);
    const port = init.port ?? 5353;
    const dns = multicastDns({ ...link.options, socket: socket.socket, port });
    const instance = { dns, rejoin: socket.rejoin };
    let pending = false;
    dns.on("query", ({ questions }, from) => {
      const asked = (questions ?? []).some((question) => question.name === serviceTag);
      if (!asked || pending || !link.hears(from.address)) return;
      pending = true;
      clock.schedule(ANSWER_MS.least + random() * ANSWER_MS.spread, () => {
        pending = false;
        if (instances.get(key) === instance) dns.respond(answer());
      });
    });
    dns.on("response", (packet, from) => {
      if (!link.hears(from.address)) return;
      const seen = sightingOf(packet, serviceTag);
      if (seen === undefined) return;
      // A link-local address is one of the link that it was heard on.
      const endpoints = seen.endpoints.flatMap((endpoint) => waysTo(endpoint, [link.own]));
      init.onSighting(seen.peer, endpoints);
    });
    dns.on("warning", (error) => logger.debug({ error, link: key }, "mDNS met a fault"));
    dns.on("ready", () => failing.delete(key));
    dns.on("error", (error) => {
      failing.add(key);
      logger.warn(
        { error, link: key },
        "mDNS can't listen here; stop what holds UDP port 5353, or set swarm.peers",
      );
      close(key);
    });
    instances.set(key, instance);
  }

  function close(key: string): void {
    const instance = instances.get(key);
    instances.delete(key);
    instance?.dns.destroy();
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

  /** Interfaces and addresses come and go: they are looked up for each question. */
  function ask(): void {
    const own = init.interfaces().filter(({ internal }) => !internal);
    known = fingerprint(own);
    const links = new Map(linksOf(own).map((link) => [link.key, link]));
    for (const key of Array.from(instances.keys())) if (!links.has(key)) close(key);
    for (const [key, link] of links) if (!instances.has(key)) listenOn(link);
    for (const { dns, rejoin } of instances.values()) {
      rejoin();
      dns.query({ questions: [{ name: serviceTag, type: "PTR" }] });
    }
  }

  /** A machine that has moved says so: others would wait for their next question. */
  function watchInterfaces(): void {
    if (fingerprint(init.interfaces().filter(({ internal }) => !internal)) !== known) {
      ask();
      for (const { dns } of instances.values()) dns.respond(answer());
    }
    watch = clock.schedule(WATCH_MS, watchInterfaces);
  }

  function keepAsking(): void {
    ask();
    const delayMs = Math.max(FIRST_INTERVAL_MS, INTERVAL_PER_MEMBER_MS * init.members());
    timer = clock.schedule(delayMs * (0.9 + random() / 5), keepAsking);
  }

  ask();
  timer = clock.schedule(REPEAT_MS, keepAsking);
  watch = clock.schedule(WATCH_MS, watchInterfaces);
  return {
    get interfaces() {
      return [...instances.keys()].filter((key) => !failing.has(key)).length;
    },
    async [Symbol.asyncDispose]() {
      timer?.[Symbol.dispose]();
      watch?.[Symbol.dispose]();
      const closing = [...instances.values()].map(async ({ dns }) => {
        const closed = Promise.withResolvers<void>();
        dns.destroy(() => closed.resolve());
        await closed.promise;
      });
      instances.clear();
      await Promise.all(closing);
    },
  };
}

function fingerprint(own: readonly OwnAddress[]): string {
  return own.map(({ name, cidr }) => `${name} ${cidr}`).join();
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
