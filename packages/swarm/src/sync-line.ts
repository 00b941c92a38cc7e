import { type Digest, formatRepository, type Repository } from "@shoal/oci";
import type { Clock, Logger } from "@shoal/runtime";
import type { PieceIndex } from "@shoal/store";
import type { Arrival } from "./arrival.ts";
import type { Dispute } from "./dispute.ts";
import type { Exchange } from "./exchange.ts";
import type { Exclusions } from "./exclusions.ts";
import type { Lessee } from "./lessee.ts";
import type { Answer, Registration } from "./registration.ts";
import type { Settlement } from "./settlement.ts";
import type { TransferLife } from "./transfer-life.ts";
import type { PeerIdString } from "./transport.ts";

/** After a sync that nobody answered. Milliseconds. */
const UNANSWERED_SYNC_MS = 500;
/** Syncs that one event after another asks for are this far apart. Milliseconds. */
const SYNC_GAP_MS = 5;
/** Between two syncs in a dispute, and while there seems to be no hope. Milliseconds. */
const DISPUTE_SYNC_MS = 100;
const HOPELESS_SYNC_MS = 100;
/** Cursors that a coordinator is told of. */
const MAX_CURSORS = 8;

/** A transfer's line to its coordinator: tells it what there is, and does what it says. */
export interface SyncLine extends Disposable {
  /** How many take part in the blob, as the coordinator last knew. */
  readonly participants: number;
  /** When an answer was last due: after that, silence is a coordinator's failure. Monotonic milliseconds. */
  readonly answeredMs: number;
  /** There is something to tell. */
  syncSoon(): void;
  /** The coordinator hears that this machine takes part no more. */
  leave(): void;
}

export interface SyncLineComponents {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly repository: Repository;
  readonly life: TransferLife;
  readonly arrival: Pick<Arrival, "have">;
  readonly lessee: Lessee;
  readonly exchange: Exchange | undefined;
  readonly exclusions: Exclusions;
  readonly dispute: Dispute;
  readonly settlement: Settlement;
  readonly cursors: () => Iterable<PieceIndex>;
  /** The line to the site's coordinators, and one to this machine's own, for fetching from the upstream alone. */
  readonly registration: Registration;
  readonly alone: Registration;
  readonly members: () => readonly PeerIdString[];
  readonly distrusted: () => readonly PeerIdString[];
  /** Whether this machine may fetch for others. */
  readonly mayLease: () => boolean;
  /** The coordinator gave a blob of one piece along with its answer. */
  readonly onContent: (content: Uint8Array, from: PeerIdString) => void;
  /** The transfer is over. */
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly logger: Logger;
}

export function createSyncLine(components: SyncLineComponents): SyncLine {
  const { digest, sizeBytes, repository, life, arrival, lessee, exchange } = components;
  const { exclusions, dispute, settlement, clock, logger, signal } = components;
  let participants = 1;
  let answeredMs = clock.now();
  /** Answers in a row that leave no hope. */
  let hopeless = 0;
  let syncing = false;
  let syncAgain = false;
  let timer: Disposable | undefined;

  function syncSoon(delayMs = 0): void {
    if (life.over) return;
    if (syncing) {
      syncAgain ||= delayMs === 0;
      return;
    }
    timer?.[Symbol.dispose]();
    if (delayMs > 0) timer = clock.schedule(delayMs, () => syncSoon());
    else void sync();
  }

  async function sync(): Promise<void> {
    syncing = true;
    syncAgain = false;
    let nextMs = UNANSWERED_SYNC_MS;
    try {
      const answer = await register(false);
      if (life.state === "arriving") nextMs = take(answer);
    } catch (error) {
      if (!signal.aborted) logger.warn({ error, digest }, "a registration failed");
    } finally {
      syncing = false;
    }
    if (life.fetching) syncSoon(syncAgain ? SYNC_GAP_MS : nextMs);
  }

  async function register(leaving: boolean): Promise<Answer | undefined> {
    const { canFetch, wants, leases } = lessee.request();
    const line = settlement.alone ? components.alone : components.registration;
    const mayLease = settlement.alone || (components.mayLease() && !settlement.misled);
    const have = arrival.have.toBytes();
    const disputed = settlement.alone || leaving ? undefined : dispute.report();
    return await line.sync(
      {
        digest,
        size: sizeBytes,
        repository: formatRepository(repository),
        canFetch: canFetch && mayLease,
        wants: wants && mayLease && !leaving,
        cursors: [...components.cursors()].slice(0, MAX_CURSORS),
        // Who leaves with all pieces is taken for a holder, which it is not where they could not be kept.
        have: life.state === "failed" ? have.fill(0) : have,
        leases: leases.map(({ id, epoch, first, end, doneBytes }) => ({
          id,
          epoch,
          first,
          end,
          done: doneBytes,
        })),
        excluded: [...new Set([...exclusions.peers, ...components.distrusted()])],
        leaving,
        ...(disputed === undefined ? {} : { dispute: disputed }),
      },
      leaving ? undefined : signal,
    );
  }

  /** @returns milliseconds until the next sync */
  function take(answer: Answer | undefined): number {
    if (answer === undefined) {
      giveUpIfHopeless(false);
      return UNANSWERED_SYNC_MS;
    }
    const { reply, from } = answer;
    // Until then nothing is to be heard.
    answeredMs = clock.now() + reply.retryMs;
    participants = reply.participants;
    lessee.apply(reply.leases);
    const { content } = reply;
    const isWhole = content?.length === sizeBytes && arrival.have.count === 0;
    if (isWhole && !exclusions.peers.has(from)) components.onContent(content, from);
    else if (!settlement.alone) exchange?.introduce(reply.holders, reply.neighbours);
    if (reply.audit !== undefined || dispute.disputing)
      void dispute
        .hear(from, reply.audit, (wrong) => void settlement.settle(wrong))
        .catch(life.fail);
    if (dispute.disputing) return DISPUTE_SYNC_MS;
    giveUpIfHopeless(reply.hope);
    return hopeless > 0 ? HOPELESS_SYNC_MS : reply.retryMs;
  }

  function giveUpIfHopeless(hope: boolean): void {
    const trying = lessee.busy || !lessee.standing.over || (exchange?.outstanding ?? 0) > 0;
    hopeless = hope || trying || life.committing !== undefined ? 0 : hopeless + 1;
    const alone = settlement.alone || components.members().length === 0;
    if (hopeless >= (alone ? 1 : 2)) life.fail(lessee.standing.lastError);
  }

  return {
    get participants() {
      return participants;
    },
    get answeredMs() {
      return answeredMs;
    },
    syncSoon: () => syncSoon(),
    leave() {
      register(true).catch((error: unknown) => logger.debug({ error }, "a leave did not arrive"));
    },
    [Symbol.dispose]() {
      timer?.[Symbol.dispose]();
    },
  };
}
