import type { Clock } from "@shoal/runtime";

interface Event {
  readonly atMs: number;
  readonly order: number;
  run: (() => void) | undefined;
}

/** Virtual time: events run in the order of their times, and of their making where those are equal. */
export interface EventQueue extends Clock {
  /** Events that have run. */
  readonly ran: number;
  /** Calls `run` at `atMs`, now at the earliest. Cheaper than `schedule`: it can't be taken back. */
  at(atMs: number, run: () => void): void;
  /**
   * Runs events until `done` says so, each with all the promises that it settles.
   * @throws RangeError when there is no event left, or after `limitMs` of virtual time
   */
  run(done: () => boolean, limitMs: number): Promise<void>;
}

/** Immediates that are queued at a time: between two of them Node runs all microtasks, and polls nothing. */
const BATCH = 64;
/** Cancelled events are swept out when they are more than half of this many and more. */
const SWEEP_FROM = 4096;

export function createEventQueue(): EventQueue {
  let heap: Event[] = [];
  let cancelled = 0;
  let nowMs = 0;
  let lastOrder = 0;
  let ran = 0;

  function before(a: Event, b: Event): boolean {
    return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
  }

  function up(from: number): void {
    const event = heap[from]!;
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(event, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = event;
  }

  function down(from: number): void {
    const event = heap[from]!;
    let at = from;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child += 1;
      if (!before(heap[child]!, event)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = event;
  }

  function add(atMs: number, run: () => void): Event {
    lastOrder += 1;
    const event: Event = { atMs: Math.max(nowMs, atMs), order: lastOrder, run };
    heap.push(event);
    up(heap.length - 1);
    return event;
  }

  function pop(): Event | undefined {
    for (;;) {
      const first = heap[0];
      if (first === undefined) return undefined;
      const last = heap.pop()!;
      if (heap.length > 0) {
        heap[0] = last;
        down(0);
      }
      if (first.run !== undefined) return first;
      cancelled -= 1;
    }
  }

  function sweep(): void {
    heap = heap.filter(({ run }) => run !== undefined);
    cancelled = 0;
    for (let at = (heap.length >> 1) - 1; at >= 0; at--) down(at);
  }

  return {
    get ran() {
      return ran;
    },
    now: () => nowMs,
    wallNow: () => nowMs,
    at(atMs, run) {
      add(atMs, run);
    },
    schedule(delayMs, callback) {
      const event = add(nowMs + Math.max(0, delayMs), callback);
      return {
        [Symbol.dispose]() {
          if (event.run === undefined) return;
          event.run = undefined;
          cancelled += 1;
          if (heap.length > SWEEP_FROM && cancelled > heap.length / 2) sweep();
        },
      };
    },
    async run(done, limitMs) {
      const finished = Promise.withResolvers<void>();
      let queued = 0;
      let over = false;
      function end(error?: Error): void {
        over = true;
        if (error === undefined) finished.resolve();
        else finished.reject(error);
      }
      function step(): void {
        queued -= 1;
        if (over) return;
        if (done()) {
          end();
          return;
        }
        const event = pop();
        if (event === undefined || event.atMs > limitMs) {
          end(new RangeError(`the simulation does not end: ${Math.round(nowMs)} ms have passed`));
          return;
        }
        nowMs = event.atMs;
        ran += 1;
        const { run } = event;
        event.run = undefined;
        run?.();
        if (queued === 0) refill();
      }
      function refill(): void {
        for (; queued < BATCH; queued++) setImmediate(step);
      }
      refill();
      await finished.promise;
    },
  };
}
