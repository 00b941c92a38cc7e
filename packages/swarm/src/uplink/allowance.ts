import { type AbortOptions, type Clock, raceSignal } from "@shoal/runtime";

/** A share is asked for again after this. Milliseconds. */
const RENEW_MS = 500;
/** The same while nothing was to be had, and after the first share. Milliseconds. */
const RENEW_EARLY_MS = 100;
/** What frees a share for others is told this soon. Milliseconds. */
const SOON_MS = 5;

/** This member's share of one quantity, asked for while it is wanted. */
export interface Allowance extends Disposable {
  /** What this member may have now; 0 before the first answer. */
  amount(): number;
  /** The want has changed: it is told soon. */
  touch(): void;
  /** Resolves when the amount may have changed. */
  changed(options: AbortOptions): Promise<void>;
}

export interface AllowanceComponents {
  readonly clock: Clock;
  /** What this member could use now, 0 when nothing. */
  readonly want: () => number;
  /** Asks the office, or settles what is this member's without one. Never rejects. */
  readonly ask: (want: number) => Promise<{ readonly amount: number; readonly forMs: number }>;
  /** Called with each new amount. */
  readonly onAmount?: (amount: number) => void;
}

export function createAllowance(components: AllowanceComponents): Allowance {
  const { clock, want, ask, onAmount } = components;
  let granted = 0;
  let untilMs = Number.NEGATIVE_INFINITY;
  let timer: Disposable | undefined;
  let asking = false;
  let soon = false;
  let again = false;
  let closed = false;
  let bell = Promise.withResolvers<void>();

  function ring(): void {
    const rung = bell;
    bell = Promise.withResolvers<void>();
    rung.resolve();
  }

  function schedule(delayMs: number): void {
    timer?.[Symbol.dispose]();
    timer = clock.schedule(delayMs, () => void renew());
  }

  async function renew(): Promise<void> {
    timer?.[Symbol.dispose]();
    timer = undefined;
    if (closed) return;
    asking = true;
    again = false;
    soon = false;
    const wanted = want();
    const answer = await ask(wanted);
    asking = false;
    const early = granted === 0 || answer.amount === 0;
    granted = answer.amount;
    untilMs = clock.now() + answer.forMs;
    onAmount?.(granted);
    ring();
    if (again) schedule(SOON_MS);
    else if (wanted > 0) schedule(early ? RENEW_EARLY_MS : RENEW_MS);
  }

  return {
    amount: () => (clock.now() < untilMs ? granted : 0),
    touch() {
      if (asking) again = true;
      else if (timer === undefined) void renew();
      else if (!soon) {
        soon = true;
        schedule(SOON_MS);
      }
    },
    async changed({ signal }) {
      await raceSignal(bell.promise, signal);
    },
    [Symbol.dispose]() {
      closed = true;
      timer?.[Symbol.dispose]();
      ring();
    },
  };
}
