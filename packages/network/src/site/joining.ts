import {
  type AbortOptions,
  type Clock,
  CodedError,
  createTurns,
  deadline,
  hasCode,
  type Logger,
} from "@shoal/runtime";
import type { PeerIdString } from "@shoal/swarm";
import type { Endpoint } from "../addresses.ts";
import { toMultiaddr } from "../addresses.ts";
import { unreachable } from "../faults.ts";
import { createFinder } from "../finder.ts";
import { frameStream } from "../frames.ts";
import { startHost } from "../host.ts";
import type { Identity } from "../identity.ts";
import type { InterfaceRule } from "../interfaces.ts";
import { createRoster } from "../roster.ts";
import { askToJoin, JOIN_PROTOCOL, JOINER_LIMITS, type JoinGrant } from "./join-exchange.ts";
import type { JoinToken } from "./join-token.ts";

/** Long enough to ask everybody in a site of 250, ten a second. Milliseconds. */
const LONGEST_MS = 30_000;
/** Without a machine that was not asked before, nobody is left to ask. Milliseconds. */
const NOBODY_NEW_MS = 6000;

export interface JoiningComponents {
  readonly identity: Identity;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
}

export interface JoiningInit {
  readonly token: JoinToken;
  /** What this machine is to be called. */
  readonly name: string;
  /** Addresses to try beside those that mDNS finds. */
  readonly peers: readonly Endpoint[];
  readonly mdns: boolean;
  /** The interfaces that members are behind. */
  readonly isMeant: InterfaceRule;
}

/**
 * Looks for a member of the token's site that may admit, and asks it for a certificate.
 * @throws ERR_JOIN when none is found, or none takes the token
 */
export async function redeemJoinToken(
  components: JoiningComponents,
  init: JoiningInit,
  options: AbortOptions = {},
): Promise<JoinGrant> {
  const { identity, clock, logger } = components;
  const { token } = init;
  const self = identity.peerId;
  const asked = new Set<PeerIdString>();
  const done = new AbortController();
  const granted = Promise.withResolvers<JoinGrant>();
  const inTurn = createTurns();

  await using node = disposable(
    await startHost({
      identity,
      site: token.site,
      listen: [],
      isMeant: init.isMeant,
      onConnection: () => undefined,
      onConnectionClosed: () => undefined,
      protocols: {},
    }),
  );

  async function connect(
    endpoints: readonly Endpoint[],
    expected: PeerIdString | undefined,
  ): Promise<PeerIdString> {
    const signal = deadline(5000, done.signal);
    const suffix = expected === undefined ? "" : `/p2p/${expected}`;
    const addresses = endpoints
      .map(toMultiaddr)
      .map((address) => (suffix === "" ? address : address.encapsulate(suffix)));
    const connection = await node.host.dial(addresses, { signal });
    const peer = connection.remotePeer.toString() as PeerIdString;
    if (peer === self) throw unreachable("is this machine");
    if (!asked.has(peer)) nobodyNew = restart(nobodyNew);
    asked.add(peer);
    // One at a time: two issuers would both count a use.
    const grant = inTurn(async () => {
      done.signal.throwIfAborted();
      const stream = frameStream(
        await connection.newStream(JOIN_PROTOCOL, { signal }),
        JOINER_LIMITS,
      );
      try {
        return await askToJoin(stream, {
          token,
          name: init.name,
          self,
          remote: peer,
          now: () => clock.wallNow(),
        });
      } finally {
        // The other side would wait for more, and so would the end of this host.
        stream.abort(unreachable("has ended the exchange"));
      }
    });
    try {
      granted.resolve(await grant);
    } catch (error) {
      const cause = error instanceof CodedError ? error.cause : undefined;
      if (hasCode(cause, "ERR_JOIN")) granted.reject(cause);
      logger.info({ error, peer }, "a member did not take the join token");
      throw error;
    }
    return peer;
  }

  function restart(timer: Disposable | undefined): Disposable {
    timer?.[Symbol.dispose]();
    return clock.schedule(NOBODY_NEW_MS, () => granted.reject(notJoined(asked.size)));
  }
  let nobodyNew: Disposable | undefined;
  const longest = clock.schedule(LONGEST_MS, () => granted.reject(notJoined(asked.size)));

  await using finder = createFinder(components, {
    self,
    configured: init.peers,
    isMeant: init.isMeant,
    roster: createRoster({ table: undefined, isUp: () => false, clock, logger }),
    own: () => [],
    members: () => asked.size,
    isMember: () => false,
    connect,
  });
  options.signal?.addEventListener("abort", () => granted.reject(options.signal?.reason));
  try {
    await finder.start();
    if (init.mdns) finder.lookAround(token.site.serviceTag);
    return await granted.promise;
  } finally {
    longest[Symbol.dispose]();
    nobodyNew?.[Symbol.dispose]();
    done.abort(unreachable("is not needed any more"));
  }
}

function disposable(host: Awaited<ReturnType<typeof startHost>>) {
  return {
    host,
    async [Symbol.asyncDispose]() {
      await host.stop();
    },
  };
}

function notJoined(asked: number): CodedError<"ERR_JOIN"> {
  return new CodedError(
    "ERR_JOIN",
    asked === 0
      ? "no machine of the token's site was found; see that a daemon of it runs on this LAN and that TCP port 5056 passes, or name one with swarm.peers"
      : `${asked === 1 ? "the one machine" : `none of the ${asked} machines`} of the site that ${asked === 1 ? "was" : "were"} found takes the token; see that the machine it was made on is up, and that it has not expired or been used up: make another with \`shoal token create\` there`,
    { details: { asked } },
  );
}
