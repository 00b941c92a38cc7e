import type { Digest } from "@shoal/oci";
import type { Clock, Logger } from "@shoal/runtime";
import type { BlobInfo, Store } from "@shoal/store";
import type { PeerClient } from "./peer-client.ts";
import { rank } from "./rendezvous.ts";
import type { PeerIdString } from "./transport.ts";
import { createZones, type ZonedTransport } from "./zones.ts";

/** News wait this long for company. Milliseconds. */
const BATCH_MS = 100;
const BATCH_ENTRIES = 1000;
/** The coordinator and its stand-in. */
const TOLD = 2;

/** Tells the coordinators of their digests which whole blobs this member has. */
export interface Announcer extends Disposable {
  memberUp(peer: PeerIdString): void;
  memberDown(peer: PeerIdString): void;
}

export interface AnnouncerComponents {
  readonly transport: ZonedTransport;
  readonly peers: PeerClient;
  readonly store: Pick<Store, "blobs" | "on">;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly shares: (digest: Digest) => boolean;
}

interface News {
  readonly held: Map<Digest, number>;
  readonly gone: Set<Digest>;
}

export function createAnnouncer(components: AnnouncerComponents): Announcer {
  const { transport, peers, store, clock, logger, shares } = components;
  const zones = createZones(transport);
  const pending = new Map<PeerIdString, News>();
  let timer: Disposable | undefined;

  function newsFor(peer: PeerIdString): News {
    const news = pending.get(peer) ?? { held: new Map(), gone: new Set() };
    pending.set(peer, news);
    timer ??= clock.schedule(BATCH_MS, flush);
    return news;
  }

  /** The coordinators of the site, and those of this machine's zone. */
  function told(digest: Digest, members: readonly PeerIdString[]): PeerIdString[] {
    const first = rank([transport.self, ...members], digest).slice(0, TOLD);
    if (!members.every(zones.near))
      first.push(...rank([transport.self, ...members.filter(zones.near)], digest).slice(0, TOLD));
    return [...new Set(first)].filter((peer) => peer !== transport.self);
  }

  function flush(): void {
    timer = undefined;
    for (const [peer, news] of pending) send(peer, news);
    pending.clear();
  }

  function send(peer: PeerIdString, news: News): void {
    const held = [...news.held];
    const gone = [...news.gone];
    void (async () => {
      do {
        const some = held.splice(0, BATCH_ENTRIES);
        const lost = gone.splice(0, BATCH_ENTRIES);
        const complete = held.length === 0 && gone.length === 0;
        await peers.ask(peer, { type: "announce", held: some, gone: lost, complete });
      } while (held.length > 0 || gone.length > 0);
    })().catch((error: unknown) => logger.debug({ error, peer }, "an announcement did not arrive"));
  }

  function onCommitted({ digest, sizeBytes }: BlobInfo): void {
    if (!shares(digest)) return;
    for (const peer of told(digest, transport.members())) {
      const news = newsFor(peer);
      news.gone.delete(digest);
      news.held.set(digest, sizeBytes);
    }
  }

  function onRemoved({ digest }: BlobInfo): void {
    for (const peer of told(digest, transport.members())) {
      const news = newsFor(peer);
      news.held.delete(digest);
      news.gone.add(digest);
    }
  }

  const committed = store.on("committed", onCommitted);
  const removed = store.on("removed", onRemoved);

  return {
    memberUp(newcomer) {
      // Sent even when empty: the newcomer waits for it before it gives out leases.
      const news: News = { held: new Map(), gone: new Set() };
      const members = new Set([...transport.members(), newcomer]);
      for (const { digest, sizeBytes } of store.blobs())
        if (shares(digest) && told(digest, [...members]).includes(newcomer))
          news.held.set(digest, sizeBytes);
      send(newcomer, news);
    },
    memberDown(lost) {
      pending.delete(lost);
      const members = transport.members().filter((peer) => peer !== lost);
      for (const { digest, sizeBytes } of store.blobs()) {
        if (!shares(digest)) continue;
        const before = told(digest, [...members, lost]);
        if (!before.includes(lost)) continue;
        for (const peer of told(digest, members))
          if (!before.includes(peer)) newsFor(peer).held.set(digest, sizeBytes);
      }
    },
    [Symbol.dispose]() {
      timer?.[Symbol.dispose]();
      committed[Symbol.dispose]();
      removed[Symbol.dispose]();
    },
  };
}
