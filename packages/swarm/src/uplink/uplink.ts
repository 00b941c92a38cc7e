import type { Digest, RegistryHost, Repository } from "@shoal/oci";
import type { AbortOptions, Clock, Logger } from "@shoal/runtime";
import type { BlobOptions, Upstream } from "@shoal/upstream";
import type { PeerClient } from "../peer-client.ts";
import { rank } from "../rendezvous.ts";
import type { PeerIdString, PeerTransport } from "../transport.ts";
import type {
  ControlReply,
  ControlRequest,
  LimitsMessage,
  PauseMessage,
  UplinkLimits,
} from "../wire/messages.ts";
import { type Allowance, createAllowance } from "./allowance.ts";
import { createOffices, LINE } from "./offices.ts";
import { createPacer, openPaced } from "./paced-blobs.ts";
import { createPauseNews } from "./pause-news.ts";
import { createRequestSlots, type RequestSlots } from "./request-slots.ts";
import { createSiteLimits, type LimitsChange, type SiteLimits } from "./site-limits.ts";
import { createTokenBucket } from "./token-bucket.ts";

type AskedUpstream = Pick<
  Upstream,
  "blob" | "confirm" | "reject" | "headBlob" | "manifest" | "headManifest"
>;
type UplinkRequest = Extract<ControlRequest, { type: "uplink" | "pause" | "limits" }>;

/** The way to the registries, as the site shares it. */
export interface Uplink extends Disposable {
  /** The registries, asked no more and no faster than the site may. */
  readonly upstream: AskedUpstream;
  readonly limits: SiteLimits;
  /** Sets limits for the whole site, until all of its members have stopped. */
  change(change: LimitsChange): void;
  /** Whether the registry may be asked now. */
  mayAsk(registry: RegistryHost): boolean;
  answer(from: PeerIdString, request: UplinkRequest): ControlReply;
  memberUp(peer: PeerIdString): void;
  memberDown(peer: PeerIdString): void;
}

export interface UplinkComponents {
  readonly transport: Pick<PeerTransport, "self" | "members">;
  readonly peers: PeerClient;
  readonly upstream: AskedUpstream & Pick<Upstream, "pause">;
  readonly clock: Clock;
  readonly logger: Logger;
}

interface RegistryGate {
  readonly slots: RequestSlots;
  readonly allowance: Allowance;
}

export function createUplink(components: UplinkComponents, configured: UplinkLimits): Uplink {
  const { transport, peers, upstream, clock, logger } = components;
  const { self } = transport;
  const limits = createSiteLimits(self, configured, clock);
  const gates = new Map<string, RegistryGate>();
  const bucket = createTokenBucket();
  const ranked = (office: string): PeerIdString[] =>
    rank([self, ...transport.members()], `uplink ${office}`);
  const pauses = createPauseNews({
    transport,
    peers,
    upstream,
    ranked,
    send,
    clock,
    logger,
  });
  const offices = createOffices({
    transport,
    peers,
    ranked,
    totalOf: (office) =>
      office === LINE ? limits.current().bytesPerSecond : limits.current().connections,
    clock,
    logger,
  });

  const line = createAllowance({
    clock,
    want: () => pacer.want(limits.current().bytesPerSecond ?? 0),
    ask: async (want) => await offices.ask(LINE, want, line.amount()),
    onAmount(amount) {
      bucket.setRate(amount, clock.now());
      if (amount === 0) bucket.empty();
    },
  });
  const pacer = createPacer({
    clock,
    bucket,
    allowance: line,
    limited: () => limits.current().bytesPerSecond !== undefined,
  });

  function gateOf(registry: RegistryHost): RegistryGate {
    const known = gates.get(registry);
    if (known !== undefined) return known;
    const allowance: Allowance = createAllowance({
      clock,
      want: () => slots.wanted,
      ask: async (want) => await offices.ask(registry, want, slots.inUse),
    });
    const slots = createRequestSlots(() => limits.current().connections !== undefined, allowance);
    const gate = { slots, allowance };
    gates.set(registry, gate);
    return gate;
  }

  function send(peer: PeerIdString, message: PauseMessage | LimitsMessage): void {
    peers
      .ask(peer, message)
      .catch((error: unknown) => logger.debug({ error, peer }, "a limit was not told"));
  }

  async function asking<T>(repository: Repository, question: () => Promise<T>): Promise<T> {
    pauses.check(repository.registry);
    try {
      return await question();
    } catch (error) {
      pauses.note(repository.registry, error);
      throw error;
    }
  }

  async function openBlob(repository: Repository, digest: Digest, options: BlobOptions = {}) {
    const { registry } = repository;
    const stack = new DisposableStack();
    const leave = (): void => stack.dispose();
    try {
      stack.use(await gateOf(registry).slots.enter(options));
      stack.use(pacer.enter());
      // A body that nobody reads ends with its signal.
      options.signal?.addEventListener("abort", leave, { once: true });
      stack.defer(() => options.signal?.removeEventListener("abort", leave));
      const paced = { upstream: { blob: guarded }, pacer };
      return await openPaced(paced, repository, digest, options, (error) => {
        leave();
        pauses.note(registry, error);
      });
    } catch (error) {
      leave();
      throw error;
    }
  }

  const guarded: Upstream["blob"] = async (repository, digest, options) =>
    await asking(repository, async () => await upstream.blob(repository, digest, options));

  function heard(from: PeerIdString, message: LimitsMessage): void {
    if (limits.hear(from, message)) logger.info({ ...message.set }, "the site's limits were set");
    renew();
  }

  function renew(): void {
    line.touch();
    for (const { allowance } of gates.values()) allowance.touch();
  }

  return {
    limits,
    upstream: {
      blob: openBlob,
      confirm: (repository, digest) => upstream.confirm(repository, digest),
      reject: (repository, digest) => upstream.reject(repository, digest),
      headBlob: async (repository, digest, options?: AbortOptions) =>
        await asking(repository, async () => await upstream.headBlob(repository, digest, options)),
      manifest: async (repository, name, options) =>
        await asking(repository, async () => await upstream.manifest(repository, name, options)),
      headManifest: async (repository, name, options) =>
        await asking(
          repository,
          async () => await upstream.headManifest(repository, name, options),
        ),
    },
    change(change) {
      limits.change(change);
      const message = limits.tell()!;
      for (const peer of transport.members()) send(peer, message);
      renew();
    },
    mayAsk: pauses.mayAsk,
    answer(from, request) {
      switch (request.type) {
        case "uplink": {
          const amount = offices.grant(from, request.office, request.want, request.holds);
          return { type: "uplinked", amount };
        }
        case "pause":
          pauses.hear(from, request);
          return { type: "done" };
        case "limits":
          heard(from, request);
          return { type: "done" };
      }
    },
    memberUp(peer) {
      const message = limits.tell();
      if (message !== undefined) send(peer, message);
      pauses.memberUp(peer);
    },
    memberDown(peer) {
      limits.forget(peer);
      offices.memberDown(peer);
    },
    [Symbol.dispose]() {
      line[Symbol.dispose]();
      for (const { allowance } of gates.values()) allowance[Symbol.dispose]();
    },
  };
}
