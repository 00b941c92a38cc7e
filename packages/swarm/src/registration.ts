import type { Clock, Logger } from "@shoal/runtime";
import type { Directory } from "./directory.ts";
import type { PeerClient } from "./peer-client.ts";
import { rank } from "./rendezvous.ts";
import type { PeerIdString, PeerTransport } from "./transport.ts";
import type { Sync, SyncReply } from "./wire/messages.ts";

/** How many of the best ranked members are tried. */
const TRIED = 3;
/** A member that did not answer is passed over for this long. Milliseconds. */
const PASS_OVER_MS = 10_000;
const SYNC_TIMEOUT_MS = 2000;

/** What a participant says of itself; the registration adds whom it passed over and the epoch. */
export type Standing = Omit<Sync, "type" | "epoch" | "passedOver" | "origin">;

export interface Answer {
  readonly reply: SyncReply;
  readonly from: PeerIdString;
}

/** One participant's line to the coordinator of a blob: it finds who that is, and who stands in. */
export interface Registration {
  /** @returns `undefined` when none of the best ranked members answers */
  sync(standing: Standing, signal?: AbortSignal): Promise<Answer | undefined>;
  /** A member, or the one that answered last, leads nowhere: it is passed over for a while. */
  doubt(peer?: PeerIdString): void;
}

export interface RegistrationComponents {
  readonly transport: Pick<PeerTransport, "self" | "members">;
  readonly peers: PeerClient;
  readonly directory: Directory;
  /** Whether a member is in good enough standing to be asked. */
  readonly trusts: (peer: PeerIdString) => boolean;
  readonly clock: Clock;
  readonly logger: Logger;
}

export function createRegistration(components: RegistrationComponents): Registration {
  const { transport, peers, directory, trusts, clock, logger } = components;
  const passedOver = new Map<PeerIdString, number>();
  let epoch = 0;
  let answeredBy: PeerIdString | undefined;

  function forgetOld(): void {
    for (const [peer, sinceMs] of passedOver)
      if (clock.now() - sinceMs > PASS_OVER_MS) passedOver.delete(peer);
  }

  async function ask(peer: PeerIdString, message: Sync, signal?: AbortSignal): Promise<SyncReply> {
    if (peer === transport.self) return await directory.sync(peer, message, signal);
    return await peers.ask(peer, message, { signal, timeoutMs: SYNC_TIMEOUT_MS });
  }

  return {
    async sync(standing, signal) {
      forgetOld();
      const ranked = rank([transport.self, ...transport.members()], standing.digest);
      const distrusted = ranked.filter((peer) => !trusts(peer));
      let tried = 0;
      for (const peer of ranked) {
        if (passedOver.has(peer) || distrusted.includes(peer)) continue;
        if (tried === TRIED) break;
        tried += 1;
        const message: Sync = {
          ...standing,
          type: "sync",
          epoch,
          passedOver: [...passedOver.keys(), ...distrusted].slice(-16),
        };
        try {
          const reply = await ask(peer, message, signal);
          epoch = Math.max(epoch, reply.epoch);
          answeredBy = peer;
          return { reply, from: peer };
        } catch (error) {
          signal?.throwIfAborted();
          passedOver.set(peer, clock.now());
          logger.debug({ error, peer, digest: standing.digest }, "a coordinator does not answer");
        }
      }
      return undefined;
    },
    doubt(peer = answeredBy) {
      if (peer === undefined || peer === transport.self) return;
      passedOver.set(peer, clock.now());
      logger.debug({ peer }, "a coordinator leads nowhere; the next one is asked");
    },
  };
}
