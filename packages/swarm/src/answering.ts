import type { Digest } from "@shoal/oci";
import { type AbortOptions, type AuditLog, hasCode, type Logger } from "@shoal/runtime";
import { createBitfield, pieceGeometry, pieces, type Store } from "@shoal/store";
import type { Directory } from "./directory.ts";
import { answers, type Resolutions } from "./resolutions.ts";
import type { Manifests } from "./manifests.ts";
import type { Origins } from "./origins.ts";
import type { Proofs } from "./proofs.ts";
import type { Resolver } from "./resolver.ts";
import { parseWireRepository, type Sharing } from "./sharing.ts";
import type { SiteRecords } from "./site-records.ts";
import type { Transfer } from "./transfer.ts";
import type { FrameHandler, PeerIdString } from "./transport.ts";
import type { Unstored } from "./unstored.ts";
import type { Uplink } from "./uplink/uplink.ts";
import type { Uploads } from "./uploads.ts";
import { decodeBlock, decodeRequest, encodeBlockReply, encodeReply } from "./wire/codec.ts";
import type { ControlReply, ControlRequest } from "./wire/messages.ts";

export interface AnsweringComponents {
  readonly self: PeerIdString;
  readonly directory: Directory;
  readonly resolver: Resolver;
  readonly site: SiteRecords;
  readonly manifests: Manifests;
  readonly resolutions: Resolutions;
  readonly uploads: Uploads;
  readonly uplink: Pick<Uplink, "answer">;
  readonly sharing: Sharing;
  readonly origins: Pick<Origins, "arriving">;
  /** Whether members may have the blob, under the name of the repository. */
  readonly gives: (digest: Digest, repository: string) => boolean;
  readonly proofs: Proofs;
  readonly store: Pick<Store, "stat" | "keeps">;
  readonly transferOf: (digest: Digest) => Transfer | undefined;
  readonly unstored: Pick<Unstored, "gained">;
  readonly auditLog: AuditLog;
  readonly logger: Logger;
}

type RefusalCode = Extract<ControlReply, { type: "refused" }>["code"];

const DONE: ControlReply = { type: "done" };

/** Answers members' frames. A repository that is not shared looks as if nothing were there. */
export function createAnswering(components: AnsweringComponents): FrameHandler {
  const { directory, resolver, site, uploads, sharing, store, transferOf, logger } = components;
  const { gives, origins } = components;

  /** Whether a member may hear of what it has named. */
  function mayHear(peer: PeerIdString, repository: string, digest?: Digest): boolean {
    const isGiven = digest === undefined || gives(digest, repository);
    if (sharing.mayShareNamed(repository) && isGiven) return true;
    components.auditLog.record({
      kind: "deny",
      at: "swarm",
      reason: "not-shared",
      who: peer,
      what: repository,
    });
    return false;
  }

  function interested(
    peer: PeerIdString,
    { digest, size, repository, have }: Extract<ControlRequest, { type: "interest" }>,
  ): ControlReply {
    if (!mayHear(peer, repository, digest)) return refusal("ERR_LIMIT");
    const transfer = transferOf(digest);
    if (transfer?.sizeBytes === size && transfer.exchange !== undefined) {
      const known = transfer.exchange.interested(peer, have);
      return known
        ? { type: "interested", have: transfer.arrival.have.toBytes() }
        : refusal("ERR_LIMIT");
    }
    if (store.stat(digest)?.sizeBytes !== size) return refusal("ERR_LIMIT");
    const geometry = pieceGeometry(size);
    const all = createBitfield(geometry.pieceCount);
    for (const piece of pieces(geometry)) all.set(piece);
    return { type: "interested", have: all.toBytes() };
  }

  /** Of two members that would both remove a blob, the one with the greater id keeps it. */
  function keptOf(digests: readonly Digest[], asker: PeerIdString): number[] {
    return [...digests.keys()].filter((index) => {
      const digest = digests[index]!;
      return store.keeps(digest, components.self > asker) && sharing.shares(digest);
    });
  }

  function sizeOf(
    peer: PeerIdString,
    { digest, repository }: Extract<ControlRequest, { type: "stat" }>,
  ): number | undefined {
    if (!mayHear(peer, repository, digest)) return undefined;
    return (
      store.stat(digest)?.sizeBytes ?? transferOf(digest)?.sizeBytes ?? directory.sizeOf(digest)
    );
  }

  async function keep(
    peer: PeerIdString,
    { record, manifest }: Extract<ControlRequest, { type: "keep" }>,
    options: AbortOptions,
  ): Promise<ControlReply> {
    // A manifest too large to come along is fetched when somebody asks for it.
    if (manifest === undefined || !answers(record, record, peer)) return DONE;
    const kept = await site.unseal(peer, record, record, { bytes: manifest }, options);
    await origins.arriving(kept.manifest.digest, parseWireRepository(record.repository));
    await components.manifests.put(kept.manifest);
    await components.resolutions.put(record, kept.manifest, kept.ageMs);
    return DONE;
  }

  async function answer(
    peer: PeerIdString,
    request: ControlRequest,
    options: AbortOptions,
  ): Promise<ControlReply> {
    const named = request.type === "keep" ? request.record : request;
    if ("repository" in named && !mayHear(peer, named.repository)) return refusal("ERR_NOT_SHARED");
    switch (request.type) {
      case "sync":
        return await directory.sync(peer, request, options.signal);
      case "interest":
        return interested(peer, request);
      case "have": {
        const { digest, size: sizeBytes, pieces: gained } = request;
        const transfer = transferOf(digest);
        if (transfer?.sizeBytes === sizeBytes) transfer.exchange?.gained(peer, gained);
        components.unstored.gained({ digest, sizeBytes }, peer, gained);
        return DONE;
      }
      case "announce":
        directory.announce(peer, request);
        return DONE;
      case "stat":
        return { type: "stats", size: sizeOf(peer, request) };
      case "keeping":
        return { type: "kept", kept: keptOf(request.digests, peer) };
      case "nudge":
        transferOf(request.digest)?.nudge();
        return DONE;
      case "resolve": {
        const { lookup, ...question } = request;
        const repository = parseWireRepository(request.repository);
        const found = await resolver.answer(repository, question, lookup, options);
        const { repository: named } = request;
        const given = found && mayHear(peer, named, found.manifest.digest) ? found : undefined;
        return await site.seal(question, given);
      }
      case "accuse":
        return { type: "accused", ...(await components.proofs.hear(peer, request)) };
      case "keep":
        return await keep(peer, request, options);
      case "uplink":
      case "pause":
      case "limits":
        return components.uplink.answer(peer, request);
    }
  }

  return async (peer, lane, frame, options) => {
    try {
      if (lane === "bulk") {
        const block = decodeBlock(frame);
        if (!mayHear(peer, block.repository, block.digest))
          return encodeBlockReply({ status: "missing", alternatives: [] });
        return await uploads.serve(peer, block, options);
      }
      return [encodeReply(await answer(peer, decodeRequest(frame), options))];
    } catch (error) {
      logger.debug({ error, peer }, "a member's request could not be answered");
      if (lane === "bulk") return encodeBlockReply({ status: "missing", alternatives: [] });
      return [encodeReply(refusal(refusalFor(error)))];
    }
  };
}

function refusal(code: RefusalCode): ControlReply {
  return { type: "refused", code };
}

function refusalFor(error: unknown): RefusalCode {
  if (hasCode(error, "ERR_LIMIT")) return "ERR_LIMIT";
  return hasCode(error, "ERR_MESSAGE", "ERR_RECORD_INVALID") ? "ERR_MESSAGE" : "ERR_UPSTREAM";
}
