import type { Digest, Repository } from "@shoal/oci";
import { type Clock, hasCode, type Logger } from "@shoal/runtime";
import type { PieceIndex } from "@shoal/store";
import type { Upstream } from "@shoal/upstream";
import type { Arrival } from "./arrival.ts";
import { type RunningLease, runLease } from "./lease-run.ts";
import { type FetchStanding, createFetchStanding } from "./standing.ts";
import type { SyncReply } from "./wire/messages.ts";

/** What a participant asks its coordinator, beyond what it has. */
export interface LeaseRequest {
  readonly canFetch: boolean;
  readonly wants: boolean;
  readonly leases: readonly RunningLease[];
}

export interface LesseeComponents {
  readonly upstream: Pick<Upstream, "blob">;
  /** Whether the site may ask the registry now. */
  readonly mayAsk: () => boolean;
  readonly repository: Repository;
  readonly digest: Digest;
  readonly arrival: Arrival;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly onPiece: (piece: PieceIndex, bytes: Uint8Array) => Promise<void>;
  readonly onBytes: (lengthBytes: number) => void;
  /** A lease has ended or the standing has changed: it is time to sync. */
  readonly onChange: () => void;
}

/** Works on the leases that the coordinator gives this machine. */
export interface Lessee extends AsyncDisposable {
  readonly standing: FetchStanding;
  readonly busy: boolean;
  request(): LeaseRequest;
  /** Brings the running leases in line with the coordinator's answer. */
  apply(granted: SyncReply["leases"]): void;
  /** Fetches `piece` without a lease, for when no coordinator can be reached. */
  fetchUnleased(piece: PieceIndex): void;
  /** Whether a lease of this machine will bring the piece soon. */
  bringsSoon(piece: PieceIndex): boolean;
  /** Takes no new lease, ends those held after their piece in flight. */
  wind(): void;
}

/** A neighbour that has a piece this far ahead of a lease's position is asked for it. */
const SOON_PIECES = 4;

export function createLessee(components: LesseeComponents): Lessee {
  const { upstream, repository, digest, arrival, clock, logger, onChange } = components;
  const standing = createFetchStanding(clock);
  const running = new Map<RunningLease, { abort: AbortController; done: Promise<void> }>();
  let winding = false;

  function start(lease: RunningLease): void {
    const abort = new AbortController();
    const done = run(lease, abort.signal).finally(() => {
      running.delete(lease);
      onChange();
    });
    running.set(lease, { abort, done });
  }

  async function run(lease: RunningLease, signal: AbortSignal): Promise<void> {
    try {
      await runLease(
        lease,
        {
          upstream,
          repository,
          digest,
          geometry: arrival.geometry,
          have: arrival.have,
          async onPiece(piece, bytes) {
            standing.succeeded();
            await components.onPiece(piece, bytes);
          },
          onBytes: components.onBytes,
        },
        signal,
      );
    } catch (error) {
      if (signal.aborted || hasCode(error, "ERR_STORE_FULL", "ERR_STORE_IO")) return;
      standing.failed(error);
      logger.info({ error, digest }, "the registry did not deliver a part of a blob");
    }
  }

  function position(lease: RunningLease): number {
    return lease.first + Math.floor(lease.doneBytes / arrival.geometry.pieceSizeBytes);
  }

  return {
    standing,
    get busy() {
      return running.size > 0;
    },
    request() {
      const canFetch = !winding && standing.mayFetch() && components.mayAsk();
      // While the arrival is sealed, what comes would be thrown away.
      const wants = canFetch && running.size === 0 && !arrival.have.complete && !arrival.sealed;
      return { canFetch: canFetch || running.size > 0, wants, leases: [...running.keys()] };
    },
    apply(granted) {
      const kept = new Set<RunningLease>();
      for (const lease of granted) {
        // A coordinator that has taken over gives what it adopts numbers of its own.
        const known = [...running.keys()].find(
          (own) =>
            (own.id === lease.id && own.epoch === lease.epoch) ||
            (own.epoch < lease.epoch && own.first === lease.first),
        );
        if (known === undefined) {
          if (winding || arrival.sealed || lease.first >= lease.end) continue;
          if (lease.end > arrival.geometry.pieceCount) continue;
          const fresh = { ...lease, doneBytes: 0 };
          kept.add(fresh);
          start(fresh);
        } else {
          known.id = lease.id;
          known.epoch = lease.epoch;
          if (!winding) known.end = lease.end;
          kept.add(known);
        }
      }
      for (const [lease, { abort }] of running) if (!kept.has(lease)) abort.abort();
    },
    fetchUnleased(piece) {
      if (!winding) start({ id: 0, epoch: 0, first: piece, end: piece + 1, doneBytes: 0 });
    },
    bringsSoon(piece) {
      for (const lease of running.keys()) {
        const at = position(lease);
        if (piece >= at && piece < lease.end && piece < at + SOON_PIECES) return true;
      }
      return false;
    },
    wind() {
      winding = true;
      for (const lease of running.keys()) lease.end = Math.min(lease.end, position(lease) + 1);
    },
    async [Symbol.asyncDispose]() {
      winding = true;
      const ends = [...running.values()].map(async ({ abort, done }) => {
        abort.abort();
        await done;
      });
      await Promise.all(ends);
    },
  };
}
