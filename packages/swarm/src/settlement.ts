import type { Digest, Repository } from "@shoal/oci";
import type { Logger } from "@shoal/runtime";
import type { PieceIndex } from "@shoal/store";
import type { Upstream } from "@shoal/upstream";
import type { Arrival } from "./arrival.ts";
import type { Dispute } from "./dispute.ts";
import type { Exchange } from "./exchange.ts";
import type { Exclusions } from "./exclusions.ts";
import type { Ledger } from "./ledger.ts";
import type { PieceIntake } from "./piece-intake.ts";
import type { FetchStanding } from "./standing.ts";
import type { TransferLife } from "./transfer-life.ts";
import type { PeerIdString } from "./transport.ts";
import { upstreamMismatch } from "./wrong-bytes.ts";

/** What is done when the pieces that have arrived do not make up the blob. */
export interface Settlement {
  /** Whether the blob is fetched from the upstream by this machine alone. */
  readonly alone: boolean;
  /** The upstream has given this machine wrong bytes: it fetches for nobody, itself included. */
  readonly misled: boolean;
  /** Whether what has arrived is worth going on with. */
  readonly keepsArrived: boolean;
  /** Members that gave whole blobs that were wrong. */
  readonly givers: ReadonlySet<PeerIdString>;
  /** Who vouches for pieces that are here; `undefined` stands for pieces that nobody does. */
  signers(): Set<PeerIdString | undefined>;
  /** The bytes are not the blob's. Once, the members find out together whose are wrong. */
  mismatched(error: unknown): Promise<void>;
  /** Members are shown to be wrong about pieces that are here: all of theirs are fetched again. */
  settle(found: ReadonlySet<PeerIdString>): Promise<void>;
  /** What did not come from the upstream is fetched again, from there, by this machine alone. */
  goAlone(error: unknown): Promise<void>;
}

export interface SettlementComponents {
  readonly digest: Digest;
  readonly repository: Repository;
  readonly upstream: Pick<Upstream, "reject">;
  readonly self: PeerIdString;
  /** Whether members may give and get this blob. */
  readonly shared: boolean;
  readonly life: TransferLife;
  readonly arrival: Arrival;
  readonly ledger: Ledger;
  readonly intake: Pick<PieceIntake, "fromUpstream">;
  readonly exchange: Exchange | undefined;
  readonly exclusions: Exclusions;
  readonly dispute: Dispute;
  /** This machine's standing with the upstream. */
  readonly standing: Pick<FetchStanding, "over">;
  readonly members: () => readonly PeerIdString[];
  /** There is something to tell the coordinator. */
  readonly onChange: () => void;
  readonly logger: Logger;
}

export function createSettlement(components: SettlementComponents): Settlement {
  const { digest, repository, upstream, self, life, arrival, ledger, intake } = components;
  const { exchange, exclusions, dispute, logger } = components;
  const givers = new Set<PeerIdString>();
  let alone = !components.shared;
  let misled = false;
  let keepsArrived = true;
  let mismatches = 0;
  let settling = false;

  function signers(): Set<PeerIdString | undefined> {
    return new Set([...arrival.have].map((piece) => ledger.signer(piece)));
  }

  function refuse(peers: Iterable<PeerIdString>): void {
    for (const peer of peers) {
      exclusions.refuse(peer);
      exchange?.forget(peer);
    }
  }

  function distrustSelf(): void {
    misled = true;
    upstream.reject(repository, digest);
    dispute.distrustSelf();
    exclusions.forgive();
  }

  async function drop(pieces: readonly PieceIndex[]): Promise<void> {
    await arrival.drop(pieces);
    ledger.forget(pieces);
  }

  function goOn(): void {
    arrival.ring();
    exchange?.wake();
    components.onChange();
  }

  /** All of it came from the upstream, which has another place to ask: whoever has seen none of it need not know. */
  async function fetchElsewhere(): Promise<void> {
    await drop([...arrival.have]);
    arrival.seal(false);
    // What members have by now may be what this one gave them.
    alone = true;
    exchange?.stop();
    life.resume();
    goOn();
  }

  async function goAlone(error: unknown): Promise<void> {
    dispute.end();
    // Sealed until the members are excluded: they would fill the gaps again.
    arrival.seal(true);
    const dropped = [...arrival.have].filter((piece) => arrival.origin(piece) !== "upstream");
    if (dropped.length === 0) {
      if (upstream.reject(repository, digest)) return await fetchElsewhere();
      keepsArrived = false;
      life.fail(upstreamMismatch({ digest }, repository, error));
      return;
    }
    await dispute.remember(dropped);
    for (const piece of dropped) {
      const origin = arrival.origin(piece)!;
      const signer = ledger.signer(piece);
      // Nobody vouched for it, so its giver answers for it.
      if (signer === undefined && origin !== "store") givers.add(origin as PeerIdString);
      refuse([signer ?? origin, origin].filter((peer) => peer !== "store") as PeerIdString[]);
    }
    await drop(dropped);
    arrival.seal(false);
    logger.warn(
      { digest, peers: [...exclusions.peers] },
      "pieces that members gave do not make up the blob; they are fetched again",
    );
    if (!components.standing.over) {
      alone = true;
      exchange?.stop();
    }
    life.resume();
    goOn();
  }

  return {
    get alone() {
      return alone;
    },
    get misled() {
      return misled;
    },
    get keepsArrived() {
      return keepsArrived;
    },
    givers,
    signers,
    async mismatched(error) {
      mismatches += 1;
      const vouching = signers();
      const others = vouching.difference(new Set([self]));
      await dispute.remember(arrival.have);
      const together = !alone && mismatches === 1 && components.members().length > 0;
      if (!together || others.size === 0 || vouching.has(undefined)) return await goAlone(error);
      logger.warn(
        { digest },
        "pieces do not make up the blob; the members find out whose are wrong",
      );
      dispute.begin();
      life.resume();
      components.onChange();
    },
    async settle(found) {
      if (settling || !life.fetching) return;
      settling = true;
      // Whom it has mistrusted on its own word alone may have been right all along.
      const wrong = found.has(self) ? new Set([self]) : found;
      if (found.has(self)) distrustSelf();
      try {
        arrival.seal(true);
        const dropped = [...arrival.have].filter((piece) => wrong.has(ledger.signer(piece)!));
        await dispute.remember(dropped);
        refuse([...wrong].filter((peer) => peer !== self));
        await drop(dropped);
        dispute.end();
        arrival.seal(false);
        for (const piece of dropped) {
          const bytes = dispute.takeRead(piece);
          if (bytes !== undefined) await intake.fromUpstream(piece, bytes);
        }
        logger.warn({ digest, peers: [...wrong] }, "members vouched for wrong pieces");
      } finally {
        settling = false;
      }
      exchange?.refresh();
      goOn();
    },
    goAlone,
  };
}
