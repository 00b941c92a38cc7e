import type { RegistryHost } from "@shoal/oci";
import { type Clock, CodedError, hasCode, type Logger } from "@shoal/runtime";
import type { Upstream } from "@shoal/upstream";
import type { PeerClient } from "../peer-client.ts";
import type { PeerIdString, PeerTransport } from "../transport.ts";
import type { PauseMessage } from "../wire/messages.ts";
import { TRIED } from "./offices.ts";
import { createPauses, type Pause } from "./pauses.ts";

/** One's own trouble with a registry is told this often at most. Milliseconds. */
const TROUBLE_MS = 1000;
/** A pause without a length, as registries ask for. Milliseconds. */
const DEFAULT_PAUSE_MS = 10_000;

type News = Pick<PauseMessage, "registry" | "forMs" | "cause">;

export interface PauseNewsComponents {
  readonly transport: Pick<PeerTransport, "self" | "members">;
  readonly peers: PeerClient;
  readonly upstream: Pick<Upstream, "pause">;
  /** Members in the order in which they are to hold a registry's office. */
  readonly ranked: (registry: RegistryHost) => PeerIdString[];
  readonly send: (peer: PeerIdString, message: PauseMessage) => void;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Pauses of registries: what one member is told by a registry holds for all. */
export interface PauseNews {
  mayAsk(registry: RegistryHost): boolean;
  /** @throws ERR_UPSTREAM_RATE_LIMITED or ERR_UPSTREAM_UNREACHABLE, `paused`, while the registry is left alone */
  check(registry: RegistryHost): void;
  /** A question to the registry has failed. */
  note(registry: RegistryHost, error: unknown): void;
  hear(from: PeerIdString, message: PauseMessage): void;
  memberUp(peer: PeerIdString): void;
}

export function createPauseNews(components: PauseNewsComponents): PauseNews {
  const { transport, peers, upstream, ranked, send, clock, logger } = components;
  const { self } = transport;
  const pauses = createPauses();
  const troubleMs = new Map<RegistryHost, number>();

  function begin({ registry, forMs, cause }: News): boolean {
    if (!pauses.begin(registry, forMs, cause, clock.now())) return false;
    if (cause === "limited") upstream.pause(registry, forMs);
    return true;
  }

  function tell(news: News): void {
    void (async () => {
      for (const peer of ranked(news.registry).slice(0, TRIED + 1)) {
        if (peer === self) {
          spread(self, news);
          return;
        }
        try {
          await peers.ask(peer, { type: "pause", ...news, relayed: false });
          return;
        } catch (error) {
          logger.debug({ error, peer }, "an uplink office was not told");
        }
      }
    })();
  }

  /** What the office does with a member's news. */
  function spread(from: PeerIdString, { registry, forMs, cause }: News): void {
    const members = transport.members();
    const length =
      cause === "limited" ? forMs : pauses.failing(registry, from, members.length + 1, clock.now());
    if (length === undefined) return;
    const news = { registry, forMs: length, cause };
    // What this member has found out by itself has begun here already.
    if (!begin(news) && from !== self) return;
    logger.warn(news, "the site leaves a registry alone for a while");
    for (const peer of members)
      if (peer !== from || cause === "failing")
        send(peer, { type: "pause", ...news, relayed: true });
  }

  return {
    mayAsk: (registry) => pauses.of(registry, clock.now()) === undefined,
    check(registry) {
      const pause = pauses.of(registry, clock.now());
      if (pause !== undefined) throw pausedError(registry, pause);
    },
    note(registry, error) {
      if (!(error instanceof CodedError) || error.details["paused"] === true) return;
      if (hasCode(error, "ERR_UPSTREAM_RATE_LIMITED")) {
        const told = error.details["retryAfterMs"];
        const forMs = Math.ceil(typeof told === "number" ? told : DEFAULT_PAUSE_MS);
        const news = { registry, forMs, cause: "limited" } as const;
        if (begin(news)) tell(news);
      } else if (hasCode(error, "ERR_UPSTREAM_UNREACHABLE", "ERR_UPSTREAM_TIMEOUT")) {
        const nowMs = clock.now();
        if (transport.members().length === 0) return;
        if (nowMs - (troubleMs.get(registry) ?? Number.NEGATIVE_INFINITY) < TROUBLE_MS) return;
        troubleMs.set(registry, nowMs);
        tell({ registry, forMs: 0, cause: "failing" });
      }
    },
    hear(from, message) {
      if (message.relayed) begin(message);
      else spread(from, message);
    },
    memberUp(peer) {
      for (const { registry, leftMs, cause } of pauses.list(clock.now())) {
        // Of those who were there before, the first in rank tells the newcomer.
        const told = ranked(registry).filter((member) => member !== peer)[0] === self;
        const forMs = Math.ceil(leftMs);
        if (told) send(peer, { type: "pause", registry, forMs, cause, relayed: true });
      }
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
