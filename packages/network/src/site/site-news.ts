import type { Connection } from "@libp2p/interface";
import { type Clock, deadline, type Logger, sleep } from "@shoal/runtime";
import type { PeerIdString } from "@shoal/swarm";
import { encode } from "cborg";
import * as z from "zod";
import { bytes, bytesUpTo, receive } from "../admission-frames.ts";
import { isUnknownProtocol, unreachable } from "../faults.ts";
import { type FramedStream, frameStream } from "../frames.ts";
import { createAttempts } from "./attempts.ts";
import { type Certificate, MAX_CERTIFICATE_BYTES } from "./certificate.ts";
import type { Credentials } from "./credentials.ts";
import { MAX_NOTICE_BYTES, MAX_REVOCATIONS } from "./notices.ts";
import { SITE_KEY_BYTES } from "./site-key.ts";

export const SITE_PROTOCOL = "/shoal/site/1";
const FRAME_BYTES = 256 * 1024;
export const SITE_LIMITS = { readBytes: FRAME_BYTES, writeBytes: FRAME_BYTES };
const EXCHANGE_MS = 5000;
const RETRY_MS = 1000;
const TRIES = 3;
/** Frames of notices of a member that are checked at once, and how often after that: a signature costs 0.1 ms. */
const NOTICES = { burst: 5, everyMs: 2000 };

const NewsSchema = z.strictObject({
  type: z.literal("news"),
  key: bytes(SITE_KEY_BYTES),
  digest: bytes(32),
  certificate: bytesUpTo(MAX_CERTIFICATE_BYTES).optional(),
});
const NoticesSchema = z.strictObject({
  type: z.literal("notices"),
  notices: z.array(bytesUpTo(MAX_NOTICE_BYTES)).max(MAX_REVOCATIONS + 1),
});
const RequestSchema = z.discriminatedUnion("type", [
  NewsSchema,
  NoticesSchema,
  z.strictObject({ type: z.literal("renew") }),
]);
const HeardSchema = z.strictObject({ wanted: z.boolean() });
const RenewedSchema = z.strictObject({
  certificate: bytesUpTo(MAX_CERTIFICATE_BYTES).optional(),
});

export interface SiteNewsInit {
  readonly credentials: Credentials;
  /** To all members that are up, or to one. */
  readonly connections: (peer?: PeerIdString) => readonly Connection[];
  /** Whether the peer was admitted by the token, so that its word on the site key is taken. */
  readonly hasToken: (peer: PeerIdString) => boolean;
  /** A member has shown a newer certificate. */
  readonly onCertificate: (peer: PeerIdString, certificate: Certificate) => void;
  /** The site key or notices that this machine did not know were heard of. */
  readonly onNews: () => void;
  /** A new certificate for a member, from who may give one. */
  readonly renew: (peer: PeerIdString) => Promise<Certificate | undefined>;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly signal: AbortSignal;
}

/** Members tell each other the site key, the notices, and their own newer certificates. */
export interface SiteNews {
  answer(stream: FramedStream, peer: PeerIdString): Promise<void>;
  /** Tells a member, or all, what this machine knows. */
  tell(peer?: PeerIdString): void;
  /** Asks a member for a new certificate. `undefined` when it gives none. @throws when it can't be asked */
  askRenewal(peer: PeerIdString): Promise<Uint8Array | undefined>;
}

export function createSiteNews(init: SiteNewsInit): SiteNews {
  const { credentials, clock, logger, signal } = init;
  const checks = createAttempts(NOTICES);
  /** Daemons of before there were certificates. */
  const silent = new WeakSet<Connection>();

  async function exchange<T>(
    connection: Connection,
    work: (stream: FramedStream, limit: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const limit = deadline(EXCHANGE_MS, signal);
    const opened = await connection.newStream(SITE_PROTOCOL, { signal: limit });
    const stream = frameStream(opened, SITE_LIMITS);
    try {
      const result = await work(stream, limit);
      await opened.close({ signal: limit }).catch(() => undefined);
      return result;
    } catch (error) {
      stream.abort(unreachable("did not end an exchange"));
      throw error;
    }
  }

  async function tellOver(connection: Connection): Promise<void> {
    const { publicKey, certificate, notices } = credentials;
    if (publicKey === undefined || notices === undefined) return;
    const news = {
      type: "news",
      key: publicKey,
      digest: notices.digest,
      ...(certificate === undefined ? {} : { certificate: certificate.document }),
    };
    await exchange(connection, async (stream, limit) => {
      await stream.write([encode(news)], { signal: limit });
      const { wanted } = await receive(stream, HeardSchema, limit);
      if (!wanted) return;
      const frame = encode({ type: "notices", notices: [...notices.documents] });
      await stream.write([frame], { signal: limit });
      const { wanted: isWantedLater } = await receive(stream, HeardSchema, limit);
      if (isWantedLater) throw unreachable("has checked many notices, and checks these later");
    });
  }

  async function tellUntilHeard(connection: Connection): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        await tellOver(connection);
        return;
      } catch (error) {
        if (signal.aborted || connection.status !== "open") return;
        const unknown = isUnknownProtocol(error);
        if (unknown) silent.add(connection);
        if (unknown || tries === TRIES) {
          logger.debug({ error }, "a member does not hear the site's news");
          return;
        }
        await sleep(clock, RETRY_MS * tries, { signal });
      }
    }
  }

  function hear(peer: PeerIdString, news: z.infer<typeof NewsSchema>): boolean {
    if (init.hasToken(peer) && credentials.learnKey(news.key)) init.onNews();
    const { publicKey, notices } = credentials;
    if (publicKey === undefined || notices === undefined) return false;
    if (Buffer.compare(publicKey, news.key) !== 0) {
      logger.warn({ peer }, "a member holds another site key than this machine");
      return false;
    }
    if (news.certificate !== undefined) {
      const certificate = credentials.read(news.certificate, peer);
      if (certificate !== undefined) init.onCertificate(peer, certificate);
    }
    return Buffer.compare(notices.digest, news.digest) !== 0;
  }

  async function respond(peer: PeerIdString, request: z.infer<typeof RequestSchema>) {
    switch (request.type) {
      case "news":
        return { wanted: hear(peer, request) };
      case "notices":
        if (!checks.take(peer, clock.now())) return { wanted: true };
        if (credentials.learn(request.notices)) init.onNews();
        return { wanted: false };
      case "renew": {
        const certificate = await init.renew(peer);
        return certificate === undefined ? {} : { certificate: certificate.document };
      }
    }
  }

  return {
    async answer(stream, peer) {
      // Two questions are all that is asked on a stream.
      for (let asked = 0; asked < 2; asked++) {
        const limit = deadline(EXCHANGE_MS, signal);
        const frame = await stream.read({ signal: limit });
        if (frame === undefined) return;
        const request = await receive({ read: async () => frame }, RequestSchema, limit);
        await stream.write([encode(await respond(peer, request))], { signal: limit });
      }
    },
    tell(peer) {
      for (const connection of init.connections(peer))
        if (!silent.has(connection))
          void tellUntilHeard(connection).catch((error: unknown) => {
            logger.debug({ error }, "a member does not hear the site's news");
          });
    },
    async askRenewal(peer) {
      const [connection] = init.connections(peer);
      if (connection === undefined) return undefined;
      return await exchange(connection, async (stream, limit) => {
        await stream.write([encode({ type: "renew" })], { signal: limit });
        return (await receive(stream, RenewedSchema, limit)).certificate;
      });
    },
  };
}
