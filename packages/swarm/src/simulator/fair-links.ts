import type { EventQueue } from "./event-queue.ts";

/** A link's number. */
export type LinkIndex = number;

export interface Flow {
  /** Bytes that have passed. */
  passed(): number;
  cancel(): void;
}

/**
 * Links that flows share max-min fairly, as many TCP connections about do: no flow can get more without
 * another, which has no more than it, getting less.
 */
export interface FairLinks {
  add(bytesPerMs: number): LinkIndex;
  setRate(link: LinkIndex, bytesPerMs: number): void;
  /** Bytes that have passed a link. */
  passed(link: LinkIndex): number;
  /**
   * Starts a flow over up to three links. `onDone` is called when its bytes have passed, and may return
   * how many more follow without a gap.
   */
  start(links: readonly LinkIndex[], bytes: number, onDone: () => number): Flow;
}

const NONE = -1;
/** Rounds of filling in batched sharing; what is not settled by then gets its smallest share. */
const BATCHED_ROUNDS = 12;

/**
 * Rates are exact with `stepMs` 0: they are worked out at every change. Otherwise they are worked out every
 * `stepMs` where something has changed, and hold until then: a flow that starts waits for the next step, and
 * what one that ends leaves is shared out at the next step. Flows end at their exact times either way.
 */
export function createFairLinks(queue: EventQueue, stepMs: number): FairLinks {
  const rates: number[] = [];
  const passedBytes: number[] = [];
  let left = new Float64Array(16);
  let share = new Float64Array(16);
  let unsettled = new Int32Array(16);
  let isLeast = new Uint8Array(16);

  let capacity = 256;
  let links = new Int32Array(3 * capacity);
  let remaining = new Float64Array(capacity);
  let rate = new Float64Array(capacity);
  let updatedMs = new Float64Array(capacity);
  let slotOf = new Int32Array(capacity);
  let generation = new Int32Array(capacity);
  const onDone: ((() => number) | undefined)[] = [];
  const free: number[] = [];
  const active: number[] = [];
  let filling: number[] = [];
  let windowEndMs = 0;
  let changed = false;
  let waking = false;

  function grow(): void {
    capacity *= 2;
    const copy = <A extends { set(old: A): void }>(made: A, old: A): A => {
      made.set(old);
      return made;
    };
    links = copy(new Int32Array(3 * capacity), links);
    remaining = copy(new Float64Array(capacity), remaining);
    rate = copy(new Float64Array(capacity), rate);
    updatedMs = copy(new Float64Array(capacity), updatedMs);
    slotOf = copy(new Int32Array(capacity), slotOf);
    generation = copy(new Int32Array(capacity), generation);
  }

  function advance(flow: number): void {
    move(flow, rate[flow]! * (queue.now() - updatedMs[flow]!));
  }

  function move(flow: number, bytes: number): void {
    const moved = Math.min(bytes, remaining[flow]!);
    updatedMs[flow] = queue.now();
    remaining[flow]! -= moved;
    for (let at = 3 * flow; at < 3 * flow + 3; at++) {
      const link = links[at]!;
      if (link !== NONE) passedBytes[link]! += moved;
    }
  }

  /** Progressive filling: in each round the links that are the tightest of all their flows' are settled. */
  function fill(): void {
    for (let link = 0; link < rates.length; link++) {
      left[link] = rates[link]!;
      unsettled[link] = 0;
    }
    for (const flow of active)
      for (let at = 3 * flow; at < 3 * flow + 3; at++)
        if (links[at] !== NONE) unsettled[links[at]!]! += 1;
    let open = active;
    for (let round = 1; open.length > 0; round++) {
      for (let link = 0; link < rates.length; link++) {
        share[link] = Math.max(0, left[link]!) / Math.max(1, unsettled[link]!);
        isLeast[link] = 1;
      }
      for (const flow of open) {
        const least = leastShare(flow) * (1 + 1e-9);
        for (let at = 3 * flow; at < 3 * flow + 3; at++)
          if (links[at] !== NONE && share[links[at]!]! > least) isLeast[links[at]!] = 0;
      }
      const last = stepMs > 0 && round === BATCHED_ROUNDS;
      const next: number[] = open === active ? [] : filling;
      let kept = 0;
      for (const flow of open) {
        let settled = last;
        for (let at = 3 * flow; at < 3 * flow + 3; at++)
          if (links[at] !== NONE && isLeast[links[at]!] === 1) settled = true;
        if (!settled) {
          next[kept++] = flow;
          continue;
        }
        rate[flow] = leastShare(flow);
        for (let at = 3 * flow; at < 3 * flow + 3; at++) {
          if (links[at] === NONE) continue;
          left[links[at]!]! -= rate[flow];
          unsettled[links[at]!]! -= 1;
        }
      }
      next.length = kept;
      filling = next;
      open = next;
    }
  }

  function leastShare(flow: number): number {
    let least = share[links[3 * flow]!]!;
    for (let at = 3 * flow + 1; at < 3 * flow + 3; at++)
      if (links[at] !== NONE && share[links[at]!]! < least) least = share[links[at]!]!;
    return least;
  }

  function wake(): void {
    waking = false;
    if (active.length === 0) return;
    for (const flow of active) advance(flow);
    if (changed) fill();
    changed = false;
    windowEndMs = stepMs > 0 ? queue.now() + stepMs : Number.POSITIVE_INFINITY;
    if (stepMs === 0) for (const flow of active) windowEndMs = Math.min(windowEndMs, endOf(flow));
    for (const flow of active) endWithinWindow(flow);
    if (stepMs > 0) wakeAt(windowEndMs);
  }

  function endOf(flow: number): number {
    return updatedMs[flow]! + remaining[flow]! / rate[flow]!;
  }

  function endWithinWindow(flow: number): void {
    const endMs = endOf(flow);
    if (!(endMs <= windowEndMs)) return;
    const expected = generation[flow]!;
    queue.at(endMs, () => {
      // With exact sharing its rate may have changed since.
      if (generation[flow] === expected && endOf(flow) <= queue.now() + 1e-9) end(flow);
    });
  }

  function end(flow: number): void {
    move(flow, remaining[flow]!);
    const more = onDone[flow]!();
    if (more === 0) {
      remove(flow);
      return;
    }
    remaining[flow] = more;
    if (stepMs === 0) touch();
    else endWithinWindow(flow);
  }

  function remove(flow: number): void {
    const last = active.pop()!;
    const slot = slotOf[flow]!;
    if (last !== flow) {
      active[slot] = last;
      slotOf[last] = slot;
    }
    generation[flow]! += 1;
    onDone[flow] = undefined;
    free.push(flow);
    touch();
  }

  function touch(): void {
    changed = true;
    const nowMs = queue.now();
    wakeAt(stepMs > 0 ? (Math.floor(nowMs / stepMs) + 1) * stepMs : nowMs);
  }

  function wakeAt(atMs: number): void {
    if (waking) return;
    waking = true;
    queue.at(atMs, wake);
  }

  return {
    add(bytesPerMs) {
      const link = rates.push(bytesPerMs) - 1;
      passedBytes.push(0);
      if (link >= left.length) {
        left = new Float64Array(2 * link);
        share = new Float64Array(2 * link);
        unsettled = new Int32Array(2 * link);
        isLeast = new Uint8Array(2 * link);
      }
      return link;
    },
    setRate(link, bytesPerMs) {
      rates[link] = bytesPerMs;
      touch();
    },
    passed(link) {
      for (const flow of active) advance(flow);
      return passedBytes[link]!;
    },
    start(over, bytes, done) {
      const flow = free.pop() ?? onDone.length;
      if (flow >= capacity) grow();
      for (let at = 0; at < 3; at++) links[3 * flow + at] = over[at] ?? NONE;
      let whole = bytes;
      remaining[flow] = bytes;
      rate[flow] = 0;
      updatedMs[flow] = queue.now();
      slotOf[flow] = active.push(flow) - 1;
      onDone[flow] = () => {
        const more = done();
        whole += more;
        return more;
      };
      touch();
      const mine = generation[flow]!;
      return {
        passed() {
          if (generation[flow] !== mine) return whole;
          advance(flow);
          return whole - remaining[flow]!;
        },
        cancel() {
          if (generation[flow] !== mine) return;
          advance(flow);
          whole -= remaining[flow]!;
          remove(flow);
        },
      };
    },
  };
}
