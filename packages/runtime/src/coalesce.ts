import { type AbortOptions, raceSignal } from "./abort.ts";

interface Flight<Value> {
  readonly result: Promise<Value>;
  readonly controller: AbortController;
  waiters: number;
}

/** Runs the same work once for everybody who asks for it while it is under way. */
export interface Coalescer<Value> {
  /**
   * Joins the work under `key`, or starts it. Each caller races its own signal, and the work's own
   * signal aborts only when the last caller has left.
   */
  run(
    key: string,
    work: (signal: AbortSignal) => Promise<Value>,
    options?: AbortOptions,
  ): Promise<Value>;
  /** How many pieces of work are under way. */
  readonly size: number;
}

export function createCoalescer<Value>(): Coalescer<Value> {
  const flights = new Map<string, Flight<Value>>();

  function launch(key: string, work: (signal: AbortSignal) => Promise<Value>): Flight<Value> {
    const controller = new AbortController();
    const result = work(controller.signal).finally(() => {
      if (flights.get(key) === flight) flights.delete(key);
    });
    result.catch(() => undefined);
    const flight: Flight<Value> = { result, controller, waiters: 0 };
    flights.set(key, flight);
    return flight;
  }

  return {
    async run(key, work, options = {}) {
      options.signal?.throwIfAborted();
      const flight = flights.get(key) ?? launch(key, work);
      flight.waiters += 1;
      try {
        return await raceSignal(flight.result, options.signal);
      } finally {
        flight.waiters -= 1;
        // Work that is done is not in the list any more, and has nobody to tell.
        if (flight.waiters === 0 && flights.get(key) === flight) {
          flights.delete(key);
          flight.controller.abort(new DOMException("every waiter has left", "AbortError"));
        }
      }
    },
    get size() {
      return flights.size;
    },
  };
}
