import type { Clock } from "@shoal/runtime";
import type { PieceIndex } from "@shoal/store";
import type { Arrival } from "./arrival.ts";
import type { Dispute } from "./dispute.ts";
import type { Exchange } from "./exchange.ts";
import type { Lessee } from "./lessee.ts";
import type { Registration } from "./registration.ts";
import type { Settlement } from "./settlement.ts";
import type { SyncLine } from "./sync-line.ts";
import type { TransferLife } from "./transfer-life.ts";
import type { PeerIdString } from "./transport.ts";
import { fetchesUnleased, SILENT_MS, WATCH_MS } from "./unleased.ts";

/** Without an answer from any coordinator for this long, one fetches without a lease. */
const UNANSWERED_MS = 5000;
/** Without a byte, and with nothing under way, for this long, another coordinator is asked. */
const DOUBT_MS = 5000;
/** With the upstream given up, and not a byte from members. */
const STALLED_MS = 60_000;

/** Sees to it that no coordinator, and no silence of members, can keep a blob from coming. */
export interface TransferWatch extends Disposable {
  /** Bytes have come, from wherever. */
  heard(): void;
}

export interface TransferWatchComponents {
  readonly life: TransferLife;
  readonly arrival: Arrival;
  readonly lessee: Lessee;
  readonly exchange: Exchange | undefined;
  readonly dispute: Pick<Dispute, "disputing" | "hopeless">;
  readonly settlement: Pick<Settlement, "alone" | "misled" | "goAlone">;
  readonly line: Pick<SyncLine, "participants" | "answeredMs" | "syncSoon">;
  readonly registration: Pick<Registration, "doubt">;
  readonly members: () => readonly PeerIdString[];
  readonly clock: Clock;
  readonly random: () => number;
}

export function createTransferWatch(components: TransferWatchComponents): TransferWatch {
  const { life, arrival, lessee, exchange, dispute, settlement, line } = components;
  const { clock, random } = components;
  let lastByteMs = clock.now();
  let doubtedMs = clock.now();
  let timer = clock.schedule(WATCH_MS, tick);

  function tick(): void {
    timer = clock.schedule(WATCH_MS, tick);
    if (!life.fetching) return;
    if (!dispute.disputing) watch(clock.now());
    else if (dispute.hopeless) goAlone();
  }

  function watch(nowMs: number): void {
    const silentMs = nowMs - Math.max(lastByteMs, arrival.lastPieceMs);
    if (lessee.standing.over && silentMs > STALLED_MS) {
      life.fail(lessee.standing.lastError);
      return;
    }
    doubtIfIdle(silentMs, nowMs);
    if (settlement.misled && !settlement.alone && silentMs > SILENT_MS) {
      // Nobody else brings the blob: what its own registry says is the last that can be tried.
      goAlone();
      return;
    }
    if (nowMs - line.answeredMs >= UNANSWERED_MS || silentMs >= SILENT_MS) fetchUnleased();
  }

  function goAlone(): void {
    void settlement.goAlone(undefined).catch(life.fail);
  }

  function doubtIfIdle(silentMs: number, nowMs: number): void {
    if (lessee.busy || (exchange?.outstanding ?? 0) > 0 || !lessee.standing.mayFetch()) return;
    if (silentMs <= DOUBT_MS || nowMs - doubtedMs <= DOUBT_MS) return;
    doubtedMs = nowMs;
    components.registration.doubt();
    line.syncSoon();
  }

  /** Each member at random, so that together they are few. */
  function fetchUnleased(): void {
    if (lessee.busy || settlement.misled || !lessee.standing.mayFetch()) return;
    const crowd = Math.max(line.participants, components.members().length + 1);
    if (!fetchesUnleased(crowd, random)) return;
    const missing = [...Array(arrival.geometry.pieceCount).keys()].filter(
      (piece) => !arrival.taken(piece as PieceIndex),
    );
    const piece = missing[Math.floor(random() * missing.length)];
    if (piece !== undefined) lessee.fetchUnleased(piece as PieceIndex);
  }

  return {
    heard() {
      lastByteMs = clock.now();
    },
    [Symbol.dispose]() {
      timer[Symbol.dispose]();
    },
  };
}
