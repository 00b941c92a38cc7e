import type { Clock, Logger } from "@shoal/runtime";
import { createBitfield, type PieceIndex, pieceGeometry } from "@shoal/store";
import { transferEnded } from "./arrival.ts";
import type { Attested } from "./attestation.ts";
import type { Answer, Registration, Standing } from "./registration.ts";
import type { PeerIdString } from "./transport.ts";
import type { Zones } from "./zones.ts";

/** Coordinators are asked again after what they say, within these bounds. Milliseconds. */
const SOONEST_MS = 250;
const LATEST_MS = 1000;
/** Cursors and members that a message has room for. */
const MAX_CURSORS = 8;
const MAX_EXCLUDED = 256;

/**
 * The line to a blob's coordinators of a machine that keeps nothing of it, asked again and again until it is
 * disposed. There it counts as one that waits: leases begin where its readers are, and it is given none; it has
 * nothing to give, and brings nothing into its zone.
 */
export interface RelayLine extends Disposable {
  /** Whether others have or can fetch what is wanted; `undefined` before the first answer. */
  readonly hope: boolean | undefined;
  /** How many take part in the blob, as the coordinator last knew. */
  readonly participants: number;
  /** Whether the member may be asked for pieces: one of another zone where this one's members can bring nothing. */
  reaches(peer: PeerIdString): boolean;
  /** There is something to tell. */
  syncSoon(): void;
}

export interface RelayLineComponents {
  readonly blob: Attested;
  readonly repository: string;
  readonly zones: Zones;
  /** The line to the site's coordinator of the blob. */
  readonly site: Registration;
  /** The line to that of this machine's zone. */
  readonly zone: Registration;
  readonly cursors: () => readonly PieceIndex[];
  readonly excluded: () => readonly PeerIdString[];
  /** A transfer of the blob is under way, and speaks for this machine. */
  readonly isTransferred: () => boolean;
  /** @param answer `undefined` when nobody answers */
  readonly onAnswer: (answer: Answer | undefined) => void;
  readonly clock: Clock;
  readonly logger: Logger;
}

export function createRelayLine(components: RelayLineComponents): RelayLine {
  const { blob, zones, site, zone, isTransferred, onAnswer, clock, logger } = components;
  const nothing = createBitfield(pieceGeometry(blob.sizeBytes).pieceCount).toBytes();
  const ended = new AbortController();
  let hope: boolean | undefined;
  let participants = 1;
  let crossing = false;
  let registered = false;
  let syncing = false;
  let timer: Disposable | undefined;

  function standing(leaving: boolean): Standing {
    return {
      digest: blob.digest,
      size: blob.sizeBytes,
      repository: components.repository,
      canFetch: false,
      wants: false,
      have: nothing,
      leases: [],
      cursors: components.cursors().slice(0, MAX_CURSORS),
      excluded: components.excluded().slice(0, MAX_EXCLUDED),
      leaving,
    };
  }

  async function ask(message: Standing, signal?: AbortSignal): Promise<Answer | undefined> {
    const { own, split } = zones;
    const near = split ? await zone.sync({ ...message, zone: own }, signal) : undefined;
    const crossed = crossing;
    crossing = near?.reply.hope !== true;
    if (!crossing && !crossed) return near;
    const far = await site.sync({ ...message, leaving: message.leaving || !crossing }, signal);
    return crossing ? (far ?? near) : near;
  }

  function syncSoon(delayMs = 0): void {
    timer?.[Symbol.dispose]();
    timer = ended.signal.aborted ? undefined : clock.schedule(delayMs, () => void sync());
  }

  async function sync(): Promise<void> {
    if (syncing) return;
    syncing = true;
    let nextMs = LATEST_MS;
    try {
      if (!isTransferred()) {
        registered = true;
        const answer = await ask(standing(false), ended.signal);
        hope = answer?.reply.hope ?? false;
        participants = answer?.reply.participants ?? 1;
        nextMs = answer?.reply.retryMs ?? nextMs;
        onAnswer(answer);
      }
    } catch (error) {
      if (!ended.signal.aborted)
        logger.warn({ error, digest: blob.digest }, "a relay could not register");
    } finally {
      syncing = false;
    }
    syncSoon(Math.max(SOONEST_MS, Math.min(LATEST_MS, nextMs)));
  }

  syncSoon();
  return {
    get hope() {
      return hope;
    },
    get participants() {
      return participants;
    },
    reaches: (peer) => crossing || zones.near(peer),
    syncSoon: () => syncSoon(),
    [Symbol.dispose]() {
      ended.abort(transferEnded());
      timer?.[Symbol.dispose]();
      if (!registered || isTransferred()) return;
      ask(standing(true)).catch((error: unknown) => {
        logger.debug({ error, digest: blob.digest }, "a leave did not arrive");
      });
    },
  };
}
