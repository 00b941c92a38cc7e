import { type Digest, formatRepository, type RegistryHost, type Repository } from "@shoal/oci";
import type { Clock, Logger } from "@shoal/runtime";
import type { PieceIndex, Store } from "@shoal/store";
import { type Notary, promisedHash } from "./attestation.ts";
import type { Conduct } from "./conduct.ts";
import type { PeerClient } from "./peer-client.ts";
import { parseWireRepository } from "./sharing.ts";
import type { PeerIdString, PeerTransport } from "./transport.ts";
import { encodeRequest } from "./wire/codec.ts";
import type { Accuse, Attestation } from "./wire/messages.ts";

/** Accusations about blobs that are not here yet. */
const MOST_PENDING = 256;
const DAY_MS = 24 * 3_600_000;
/** A member that can't check an accusation of itself holds back for this long only. Milliseconds. */
const UNSURE_MS = 600_000;

/** False attestations, told to all members. Each checks them against a verified blob of its own. */
export interface Proofs extends Disposable {
  /** Attestations that this member has found to be false about a blob that it has verified. */
  accuse(
    blob: { readonly digest: Digest; readonly sizeBytes: number },
    repository: Repository,
    claims: Iterable<Attestation>,
  ): void;
  /** A member accuses another, or this one. @returns whether this member takes its own word back */
  hear(from: PeerIdString, accusation: Accuse): Promise<{ readonly withdrawn: boolean }>;
  /** Whether this member may fetch from the registry for others: it has not been given wrong bytes there. */
  mayLease(registry: RegistryHost): boolean;
}

export interface ProofsComponents {
  readonly transport: Pick<PeerTransport, "self" | "members">;
  readonly peers: PeerClient;
  readonly store: Pick<Store, "stat" | "open" | "on">;
  readonly notary: Notary;
  readonly conduct: Conduct;
  /** Whether the registry is read over TLS, so that nobody between can have changed what it sent. */
  readonly overTls: (registry: RegistryHost) => boolean;
  readonly clock: Clock;
  readonly logger: Logger;
}

export function createProofs(components: ProofsComponents): Proofs {
  const { transport, peers, store, notary, conduct, overTls, clock, logger } = components;
  const pending = new Map<string, Accuse>();
  const restUntilMs = new Map<RegistryHost, number>();

  const committed = store.on("committed", ({ digest }) => {
    for (const [key, accusation] of pending) {
      if (accusation.digest !== digest) continue;
      pending.delete(key);
      void check(accusation).catch((error: unknown) => {
        logger.warn({ error, digest }, "an accusation could not be checked");
      });
    }
  });

  /** @returns `undefined` when this member has no verified blob to hold it against */
  async function isFalse({ digest, size, attestation }: Accuse): Promise<boolean | undefined> {
    if (store.stat(digest)?.sizeBytes !== size) return undefined;
    await using handle = await store.open(digest);
    if (handle === undefined) return undefined;
    for (let piece = attestation.first as PieceIndex; ; piece++) {
      const promised = promisedHash(attestation, piece);
      if (promised === undefined) return false;
      const hash = await handle.pieceHash(piece);
      if (hash === undefined) return undefined;
      if (Buffer.compare(hash, promised) !== 0) return true;
    }
  }

  async function check(accusation: Accuse): Promise<boolean | undefined> {
    const { digest, size, repository, attestation } = accusation;
    const { registry } = parseWireRepository(repository);
    if (!(await notary.verify({ digest, sizeBytes: size }, attestation))) return false;
    const found = await isFalse(accusation);
    if (found !== true) return found;
    if (attestation.signer === transport.self) {
      rest(registry, DAY_MS);
      logger.warn(
        { digest, registry },
        "this machine was given wrong bytes by a registry; it fetches nothing from there for others for a day; look for a proxy in between",
      );
      return true;
    }
    // A holder has verified the blob: no registry can have misled it.
    const withdrawn = attestation.source === "upstream" && (await ask(accusation));
    const certain = attestation.source === "holder" || overTls(registry);
    const proof = Buffer.from(encodeRequest(accusation)).toString("base64");
    await conduct.convict(attestation.signer, { digest, registry, certain, withdrawn, proof });
    return true;
  }

  /** Asks the accused, who may not have known: an honest one takes its word back. */
  async function ask(accusation: Accuse): Promise<boolean> {
    try {
      const reply = await peers.ask(accusation.attestation.signer, accusation);
      return reply.withdrawn;
    } catch (error) {
      logger.debug({ error }, "an accused member does not answer");
      return false;
    }
  }

  function rest(registry: RegistryHost, forMs: number): void {
    const untilMs = Math.max(restUntilMs.get(registry) ?? 0, clock.now() + forMs);
    restUntilMs.set(registry, untilMs);
  }

  return {
    accuse({ digest, sizeBytes }, repository, claims) {
      for (const attestation of claims) {
        const accusation: Accuse = {
          type: "accuse",
          digest,
          size: sizeBytes,
          repository: formatRepository(repository),
          attestation,
        };
        const told = [transport.self, ...transport.members()].filter(
          (peer) => peer !== attestation.signer,
        );
        for (const peer of told)
          void (async () => {
            if (peer === transport.self) await check(accusation);
            else await peers.ask(peer, accusation);
          })().catch((error: unknown) => logger.debug({ error, peer }, "a proof was not heard"));
      }
    },
    async hear(from, accusation) {
      const { digest, size, repository, attestation } = accusation;
      const found = await check(accusation);
      const mine = attestation.signer === transport.self;
      if (found === undefined) {
        if (pending.size < MOST_PENDING) pending.set(`${digest} ${attestation.signer}`, accusation);
        const signed = mine && (await notary.verify({ digest, sizeBytes: size }, attestation));
        if (signed) rest(parseWireRepository(repository).registry, UNSURE_MS);
        return { withdrawn: signed };
      }
      if (!found) logger.info({ peer: from }, "a member's accusation does not hold");
      return { withdrawn: mine && found };
    },
    mayLease: (registry) => clock.now() >= (restUntilMs.get(registry) ?? 0),
    [Symbol.dispose]() {
      committed[Symbol.dispose]();
    },
  };
}
