import { digestAlgorithm, digestOf, isDigest, MAX_MANIFEST_BYTES } from "@shoal/oci";
import { type AbortOptions, CodedError, type Logger } from "@shoal/runtime";
import type { Manifest } from "./manifests.ts";
import type { PeerClient } from "./peer-client.ts";
import { answers, type Question, recordPayload } from "./resolutions.ts";
import type { PeerIdString, PeerTransport } from "./transport.ts";
import type { ControlReply, SignedRecord } from "./wire/messages.ts";

type ResolveReply = Extract<ControlReply, { type: "resolved" }>;

/** Larger manifests are fetched in blocks. */
const INLINE_MANIFEST_BYTES = 192 * 1024;
const BLOCK_BYTES = 1024 * 1024;
const KNOWN_TIMEOUT_MS = 2000;

/** A resolution with the manifest's verified bytes. */
export interface SiteResolution {
  readonly manifest: Manifest;
  readonly ageMs: number;
}

/** Resolutions as members hand them to each other: signed by the sender, checked by the receiver. */
export interface SiteRecords {
  /**
   * Asks one member. @returns `undefined` when it knows nothing
   * @throws ERR_PEER_REFUSED, ERR_PEER_UNREACHABLE, ERR_RECORD_INVALID, ERR_MESSAGE
   */
  ask(
    peer: PeerIdString,
    question: Question,
    lookup: "known" | "fetch",
    timeoutMs: number,
    options?: AbortOptions,
  ): Promise<SiteResolution | undefined>;
  /** Asks members at once what they know, and takes the youngest answer; for a digest the first. */
  askKnown(
    members: readonly PeerIdString[],
    question: Question,
    options?: AbortOptions,
  ): Promise<SiteResolution | undefined>;
  /** Has others keep a resolution; what fails is logged. */
  keepAt(members: readonly PeerIdString[], question: Question, resolution: SiteResolution): void;
  /** Puts a resolution into an answer. */
  seal(question: Question, resolution: SiteResolution | undefined): Promise<ResolveReply>;
  /** Takes a member's record, with the manifest where it came along. @throws ERR_RECORD_INVALID */
  unseal(
    from: PeerIdString,
    question: Question,
    record: SignedRecord,
    manifest: { readonly bytes?: Uint8Array | undefined; readonly size?: number | undefined },
    options?: AbortOptions,
  ): Promise<SiteResolution>;
}

export interface SiteRecordsComponents {
  readonly transport: Pick<PeerTransport, "self" | "sign" | "verify">;
  readonly peers: PeerClient;
  readonly logger: Logger;
}

export function createSiteRecords(components: SiteRecordsComponents): SiteRecords {
  const { transport, peers, logger } = components;

  async function sign(question: Question, resolution: SiteResolution): Promise<SignedRecord> {
    const { digest, mediaType } = resolution.manifest;
    const unsigned = {
      repository: question.repository,
      name: question.name,
      accept: [...question.accept],
      digest,
      mediaType,
      ageMs: Math.round(resolution.ageMs),
      signer: transport.self,
    };
    return { ...unsigned, signature: await transport.sign(recordPayload(unsigned)) };
  }

  async function fetchManifest(
    from: PeerIdString,
    { repository, digest }: SignedRecord,
    size: number,
    options: AbortOptions,
  ): Promise<Uint8Array> {
    if (size > MAX_MANIFEST_BYTES) throw invalid("names a manifest over 4 MiB");
    const whole = Buffer.allocUnsafeSlow(size);
    for (let offset = 0; offset < size; offset += BLOCK_BYTES) {
      const length = Math.min(BLOCK_BYTES, size - offset);
      const { head, bytes } = await peers.block(
        from,
        { type: "block", digest, size, repository, offset, length },
        options,
      );
      if (head.status !== "ok" || bytes.length !== length)
        throw invalid("comes without its manifest");
      whole.set(bytes, offset);
    }
    return whole;
  }

  const records: SiteRecords = {
    async ask(peer, question, lookup, timeoutMs, options = {}) {
      const reply = await peers.ask(
        peer,
        { type: "resolve", ...question, accept: [...question.accept], lookup },
        { ...options, timeoutMs },
      );
      if (reply.record === undefined) return undefined;
      const manifest = { bytes: reply.manifest, size: reply.size };
      return await records.unseal(peer, question, reply.record, manifest, options);
    },
    async askKnown(members, question, options = {}) {
      const others = members.filter((peer) => peer !== transport.self);
      const asked = others.map(async (peer) => {
        const found = await records.ask(peer, question, "known", KNOWN_TIMEOUT_MS, options);
        return (
          found ?? Promise.reject(new CodedError("ERR_UNKNOWN", "a member knows nothing of it"))
        );
      });
      if (isDigest(question.name)) return await Promise.any(asked).catch(() => undefined);
      let youngest: SiteResolution | undefined;
      for (const answer of await Promise.allSettled(asked)) {
        if (answer.status === "rejected") continue;
        if (youngest === undefined || answer.value.ageMs < youngest.ageMs) youngest = answer.value;
      }
      return youngest;
    },
    keepAt(members, question, resolution) {
      for (const peer of members)
        void (async () => {
          const { bytes } = resolution.manifest;
          const record = await sign(question, resolution);
          const manifest = bytes.length <= INLINE_MANIFEST_BYTES ? { manifest: bytes } : {};
          await peers.ask(peer, { type: "keep", record, ...manifest });
        })().catch((error: unknown) => logger.debug({ error, peer }, "a record was not kept"));
    },
    async seal(question, resolution) {
      if (resolution === undefined) return { type: "resolved" };
      const { bytes } = resolution.manifest;
      const record = await sign(question, resolution);
      const size = bytes.length;
      return size <= INLINE_MANIFEST_BYTES
        ? { type: "resolved", record, size, manifest: bytes }
        : { type: "resolved", record, size };
    },
    async unseal(from, question, record, { bytes, size }, options = {}) {
      if (!answers(record, question, from)) throw invalid("is about something else");
      const { signature, ...unsigned } = record;
      if (!(await transport.verify(from, recordPayload(unsigned), signature)))
        throw invalid("has a wrong signature");
      const { digest, mediaType, ageMs } = record;
      if (isDigest(question.name) && digest !== question.name)
        throw invalid("is of another digest");
      if (bytes === undefined && size === undefined) throw invalid("comes without its manifest");
      const manifest = bytes ?? (await fetchManifest(from, record, size ?? 0, options));
      if (digestOf(manifest, digestAlgorithm(digest)) !== digest)
        throw invalid("has a manifest of another digest");
      return { manifest: { digest, mediaType, bytes: manifest }, ageMs };
    },
  };
  return records;
}

function invalid(fault: string): CodedError<"ERR_RECORD_INVALID"> {
  return new CodedError(
    "ERR_RECORD_INVALID",
    `a member's resolution ${fault}; it is not used, and the next member or the registry is asked`,
  );
}
