import type { Digest, RegistryHost, Repository } from "@shoal/oci";
import { type AbortOptions, type Clock, CodedError, hasCode, type Logger } from "@shoal/runtime";
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
import { createPacer, openPaced } from "./paced-blobs.ts";
import { createPauses, type Pause } from "./pauses.ts";
import { createRequestSlots, type RequestSlots } from "./request-slots.ts";
import { createShares, SHARE_TTL_MS, type Shares } from "./shares.ts";
import { createSiteLimits, type LimitsChange, type SiteLimits } from "./site-limits.ts";
import { createTokenBucket } from "./token-bucket.ts";

/** The office of the whole line; the others are those of registries. */
const LINE = "*";
/** Less than this a second is no rate to fetch at: the others wait for their turn. */
const LEAST_BYTES_PER_SECOND = 32 * 1024;
/** How many of the best ranked are tried. */
const TRIED = 2;
const OFFICE_TIMEOUT_MS = 1000;
/** What is an even part for lack of an office holds for this long. Milliseconds. */
const UNANSWERED_MS = 1000;
/** One's own trouble with a registry is told this often at most. Milliseconds. */
const TROUBLE_MS = 1000;
/** A pause without a length, as registries ask for. Milliseconds. */
const DEFAULT_PAUSE_MS = 10_000;

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
  const pauses = createPauses();
  const offices = new Map<string, Shares>();
  const gates = new Map<string, RegistryGate>();
  const troubleMs = new Map<string, number>();
  const bucket = createTokenBucket();
  let lastDownMs = Number.NEGATIVE_INFINITY;

  const ranked = (office: string): PeerIdString[] =>
    rank([self, ...transport.members()], `uplink ${office}`);
  const totalOf = (office: string): number | undefined =>
    office === LINE ? limits.current().bytesPerSecond : limits.current().connections;

  // -- Shares: asking for them, and handing them out

  function grant(from: PeerIdString, office: string, want: number, holds: number): number {
    const total = totalOf(office);
    if (total === undefined) return want;
    let shares = offices.get(office);
    if (shares === undefined) {
      shares =
        office === LINE
          ? createShares({ quantum: LEAST_BYTES_PER_SECOND, inUse: false })
          : createShares({ quantum: 1, inUse: true });
      // Whoever held this office before may have given everything away.
      if (holds > 0 || clock.now() - lastDownMs < SHARE_TTL_MS) shares.takeOver(clock.now());
      offices.set(office, shares);
    }
    const members = transport.members().length + 1;
    return shares.claim(from, { want, holds }, { total, members }, clock.now());
  }

  async function ask(
    office: string,
    want: number,
    holds: number,
  ): Promise<{ amount: number; forMs: number }> {
    const total = totalOf(office);
    if (total === undefined) return { amount: want, forMs: SHARE_TTL_MS };
    for (const peer of ranked(office).slice(0, TRIED)) {
      if (peer === self) return { amount: grant(self, office, want, holds), forMs: SHARE_TTL_MS };
      try {
        const question = { type: "uplink", office, want, holds } as const;
        const { amount } = await peers.ask(peer, question, { timeoutMs: OFFICE_TIMEOUT_MS });
        return { amount, forMs: SHARE_TTL_MS };
      } catch (error) {
        logger.debug({ error, peer, office }, "an uplink office does not answer");
      }
    }
    const even = Math.floor(total / (transport.members().length + 1));
    return { amount: Math.min(want, Math.max(1, even)), forMs: UNANSWERED_MS };
  }

  const line = createAllowance({
    clock,
    want: () => pacer.want(limits.current().bytesPerSecond ?? 0),
    ask: async (want) => await ask(LINE, want, line.amount()),
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
      ask: async (want) => await ask(registry, want, slots.inUse),
    });
    const slots = createRequestSlots(() => limits.current().connections !== undefined, allowance);
    const gate = { slots, allowance };
    gates.set(registry, gate);
    return gate;
  }

  // -- Pauses: what one member is told by a registry holds for all

  function check(registry: RegistryHost): void {
    const pause = pauses.of(registry, clock.now());
    if (pause !== undefined) throw pausedError(registry, pause);
  }

  function note(registry: RegistryHost, error: unknown): void {
    if (!(error instanceof CodedError) || error.details["paused"] === true) return;
    if (hasCode(error, "ERR_UPSTREAM_RATE_LIMITED")) {
      const told = error.details["retryAfterMs"];
      const forMs = Math.ceil(typeof told === "number" ? told : DEFAULT_PAUSE_MS);
      if (begin(registry, forMs, "limited")) tell({ registry, forMs, cause: "limited" });
    } else if (hasCode(error, "ERR_UPSTREAM_UNREACHABLE", "ERR_UPSTREAM_TIMEOUT")) {
      const nowMs = clock.now();
      if (transport.members().length === 0) return;
      if (nowMs - (troubleMs.get(registry) ?? Number.NEGATIVE_INFINITY) < TROUBLE_MS) return;
      troubleMs.set(registry, nowMs);
      tell({ registry, forMs: 0, cause: "failing" });
    }
  }

  function begin(registry: RegistryHost, forMs: number, cause: Pause["cause"]): boolean {
    if (!pauses.begin(registry, forMs, cause, clock.now())) return false;
    if (cause === "limited") upstream.pause(registry, forMs);
    return true;
  }

  function tell(pause: Pick<PauseMessage, "registry" | "forMs" | "cause">): void {
    void (async () => {
      for (const peer of ranked(pause.registry).slice(0, TRIED + 1)) {
        if (peer === self) {
          spread(self, pause);
          return;
        }
        try {
          await peers.ask(peer, { type: "pause", ...pause, relayed: false });
          return;
        } catch (error) {
          logger.debug({ error, peer }, "an uplink office was not told");
        }
      }
    })();
  }

  /** What the office does with a member's news. */
  function spread(
    from: PeerIdString,
    { registry, forMs, cause }: Parameters<typeof tell>[0],
  ): void {
    const members = transport.members();
    const length =
      cause === "limited" ? forMs : pauses.failing(registry, from, members.length + 1, clock.now());
    if (length === undefined) return;
    // What this member has found out by itself has begun here already.
    if (!begin(registry, length, cause) && from !== self) return;
    logger.warn({ registry, forMs: length, cause }, "the site leaves a registry alone for a while");
    for (const peer of members)
      if (peer !== from || cause === "failing")
        send(peer, { type: "pause", registry, forMs: length, cause, relayed: true });
  }

  function send(peer: PeerIdString, message: PauseMessage | LimitsMessage): void {
    peers
      .ask(peer, message)
      .catch((error: unknown) => logger.debug({ error, peer }, "a limit was not told"));
  }

  // -- The registries

  async function asking<T>(repository: Repository, question: () => Promise<T>): Promise<T> {
    check(repository.registry);
    try {
      return await question();
    } catch (error) {
      note(repository.registry, error);
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
        note(registry, error);
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
    mayAsk: (registry) => pauses.of(registry, clock.now()) === undefined,
    answer(from, request) {
      switch (request.type) {
        case "uplink": {
          const amount = grant(from, request.office, request.want, request.holds);
          return { type: "uplinked", amount };
        }
        case "pause":
          if (request.relayed) begin(request.registry, request.forMs, request.cause);
          else spread(from, request);
          return { type: "done" };
        case "limits":
          heard(from, request);
          return { type: "done" };
      }
    },
    memberUp(peer) {
      const message = limits.tell();
      if (message !== undefined) send(peer, message);
      for (const { registry, leftMs, cause } of pauses.list(clock.now())) {
        // Of those who were there before, the first in rank tells the newcomer.
        const told = ranked(registry).filter((member) => member !== peer)[0] === self;
        const forMs = Math.ceil(leftMs);
        if (told) send(peer, { type: "pause", registry, forMs, cause, relayed: true });
      }
    },
    memberDown(peer) {
      limits.forget(peer);
      lastDownMs = clock.now();
      for (const shares of offices.values()) {
        shares.drop(peer);
        shares.takeOver(clock.now());
      }
    },
    [Symbol.dispose]() {
      line[Symbol.dispose]();
      for (const { allowance } of gates.values()) allowance[Symbol.dispose]();
    },
  };
}

function pausedError(registry: RegistryHost, { leftMs, cause }: Pause): CodedError {
  const seconds = Math.ceil(leftMs / 1000);
  const details = { registry, retryAfterMs: Math.ceil(leftMs), paused: true };
  return cause === "limited"
    ? new CodedError(
        "ERR_UPSTREAM_RATE_LIMITED",
        `${registry} has asked this site for a pause; it may be asked again in ${seconds} s, and a login often raises its limit`,
        { details },
      )
    : new CodedError(
        "ERR_UPSTREAM_UNREACHABLE",
        `${registry} could not be reached by several machines of this site; it is asked again in ${seconds} s; look at the way to it`,
        { details },
      );
}
