import type { Digest } from "@shoal/oci";
import { type Counter, createTurns, type InTurn, type Logger } from "@shoal/runtime";
import { type GcPlan, type GcRemoval, type GcState, planCollection } from "./plan.ts";

export interface Removal extends GcRemoval {
  /** Those of the image. */
  readonly names: readonly string[];
}

/** What a collection has removed, or would remove. */
export interface Collection {
  readonly removals: readonly Removal[];
  readonly wonBytes: number;
  /** What could not be won: the rest is pinned or in use. */
  readonly shortBytes: number;
}

export interface CollectorComponents {
  /** How things are now. */
  readonly state: () => Promise<Omit<GcState, "lastCopies">>;
  /** Those of the blobs that no other machine is known to keep. */
  readonly lastCopies: (digests: readonly Digest[]) => Promise<ReadonlySet<Digest>>;
  readonly namesOf: (digest: Digest) => readonly string[];
  /** Removes what may still go. @returns bytes won */
  readonly remove: (removal: GcRemoval) => Promise<number>;
  readonly onCollected: (removal: Removal) => void;
  readonly collectedBytes: Counter;
  readonly logger: Logger;
}

export interface CollectOptions {
  /** Asked when it is this collection's turn. Bytes. */
  readonly goal: () => Promise<number>;
  /** @default false */
  readonly dryRun?: boolean;
}

/** Removes what has to go, one collection at a time. */
export interface Collector {
  /**
   * Whether another machine that is about to remove the blob is told that this one keeps it.
   * @param insists whether this one gives way to the other's collection where both would remove it
   */
  keeps(digest: Digest, insists: boolean): boolean;
  collect(options: CollectOptions): Promise<Collection>;
  /** Runs work while nothing is being removed. */
  readonly whileIdle: InTurn;
}

export function createCollector(components: CollectorComponents): Collector {
  const { remove, collectedBytes, logger } = components;
  const whileIdle = createTurns();
  /**
   * Blobs that others are being asked about, or that go since somebody else keeps them. That is told to others
   * from before they are asked, so of two machines that would remove a blob at once one at most relies on the other.
   */
  const leaving = new Map<Digest, "asked" | "going">();
  /** Blobs that were being asked about when another machine was promised that they stay. */
  const promised = new Set<Digest>();

  /** Asks only about what would go: a question to the site for every blob would cost more than it saves. */
  async function plan(
    winBytes: number,
    dryRun: boolean,
  ): Promise<GcPlan & Pick<Collection, "removals">> {
    const state = await components.state();
    const asked = new Set<Digest>();
    const lastCopies = new Set<Digest>();
    // Each time about more, lest a site that has but last copies is asked for each image by itself.
    for (let factor = 1; ; factor *= 4) {
      const found = planCollection({ ...state, lastCopies }, winBytes);
      if (unaskedOf(found, asked).length === 0) {
        const removals = found.removals.map((removal) => ({
          ...removal,
          names: components.namesOf(removal.digest),
        }));
        return { ...found, removals };
      }
      const wider = planCollection({ ...state, lastCopies }, winBytes * factor);
      const unasked = unaskedOf(wider, asked);
      for (const digest of unasked) {
        asked.add(digest);
        if (!dryRun) leaving.set(digest, "asked");
      }
      const last = await components.lastCopies(unasked);
      for (const digest of unasked)
        if (last.has(digest) || promised.has(digest)) lastCopies.add(digest);
        else if (!dryRun) leaving.set(digest, "going");
    }
  }

  async function run({ goal, dryRun = false }: CollectOptions): Promise<Collection> {
    const winBytes = Math.max(0, await goal());
    const { removals, wonBytes } = await plan(winBytes, dryRun);
    if (dryRun) return { removals, wonBytes, shortBytes: Math.max(0, winBytes - wonBytes) };
    const gone: Removal[] = [];
    let won = 0;
    for (const removal of removals) {
      const sizeBytes = await remove(removal);
      if (sizeBytes === 0 && removal.sizeBytes > 0) continue;
      gone.push({ ...removal, sizeBytes });
      won += sizeBytes;
      components.onCollected({ ...removal, sizeBytes });
      collectedBytes.add(sizeBytes, { reason: removal.reason });
      logger.info(
        {
          digest: removal.digest,
          names: removal.names,
          kind: removal.kind,
          reason: removal.reason,
          usedAt: new Date(removal.usedMs).toISOString(),
          sizeBytes,
        },
        "the store has let something go",
      );
    }
    const shortBytes = Math.max(0, winBytes - won);
    if (shortBytes > 0)
      logger.warn({ shortBytes }, "the store is over its mark; the rest of it is pinned or in use");
    return { removals: gone, wonBytes: won, shortBytes };
  }

  return {
    keeps(digest, insists) {
      const step = leaving.get(digest);
      if (step === "asked" && insists) promised.add(digest);
      return step === undefined || (step === "asked" && insists);
    },
    async collect(options) {
      return await whileIdle(async () => {
        try {
          return await run(options);
        } finally {
          leaving.clear();
          promised.clear();
        }
      });
    },
    whileIdle,
  };
}

/** Blobs that would go, of which it is not known whether others keep them. */
function unaskedOf({ removals }: GcPlan, asked: ReadonlySet<Digest>): Digest[] {
  return removals
    .filter(({ reason }) => reason === "least-recently-used" || reason === "unnamed")
    .flatMap(({ blobs }) => blobs.filter((digest) => !asked.has(digest)));
}
