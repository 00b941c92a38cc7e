import type { Connection, Stream } from "@libp2p/interface";
import type { AuditLog, Clock, Logger } from "@shoal/runtime";
import {
  ADMISSION_FRAME_BYTES,
  ADMISSION_PROTOCOL,
  type Card,
  grantAdmission,
  requestAdmission,
} from "./admission.ts";
import { endpointOf } from "./addresses.ts";
import { ADMISSION_MS } from "./admission-frames.ts";
import { isUnknownProtocol, otherVersion, unreachable } from "./faults.ts";
import { type FramedStream, frameStream } from "./frames.ts";
import { type Membership, peerOf } from "./membership.ts";
import type { NetworkMetrics } from "./metrics.ts";
import type { Credentials } from "./site/credentials.ts";
import {
  type Admitted,
  grantMutualAdmission,
  MUTUAL_ADMISSION_PROTOCOL,
  requestMutualAdmission,
} from "./site/mutual-admission.ts";

const LIMITS = { readBytes: ADMISSION_FRAME_BYTES, writeBytes: ADMISSION_FRAME_BYTES };
/** A connection on which nobody asks for admission is kept this long. Milliseconds. */
const UNASKED_MS = 8000;
const MAX_OTHER_VERSIONS = 1000;

/** Makes members of those at the other end of connections, or cuts them. */
export interface Admitting {
  /** Asks for admission, and grants it. Rejects when either side refuses. */
  request(connection: Connection): Promise<void>;
  /** Answer requests, by protocol. To be called in the tick that made the stream. */
  readonly protocols: Readonly<Record<string, (stream: Stream, connection: Connection) => void>>;
  /** A connection that asks for no admission is not kept. */
  expect(connection: Connection): void;
  /** Somebody at that address failed before admission could be asked for. */
  stranger(host: string | undefined): void;
}

export interface AdmittingComponents {
  readonly self: string;
  readonly membership: Pick<Membership, "admit" | "isAdmitted">;
  /** What this machine shows, and by what it judges. */
  readonly credentials: () => Credentials;
  /** Told only to a peer that has proved itself. */
  readonly card: () => Card;
  readonly metrics: Pick<NetworkMetrics, "admissions">;
  readonly audit: AuditLog;
  readonly clock: Clock;
  readonly logger: Logger;
}

export function createAdmitting(components: AdmittingComponents): Admitting {
  const { self, membership, card, metrics, audit, clock, logger } = components;
  const otherVersions = new Set<string>();

  function termsFor(connection: Connection) {
    const remote = connection.remotePeer.toString();
    return { self, remote, card, credentials: components.credentials() };
  }

  /** The key of the proofs of version 1, which knows nothing but the token. */
  function tokenTermsFor(connection: Connection) {
    const terms = termsFor(connection);
    const key = terms.credentials.tokenKey();
    const standing = { token: true, certificate: undefined };
    if (key === undefined || !terms.credentials.admits(terms.remote, standing))
      throw unreachable("is not admitted by a token");
    return { ...terms, key, standing };
  }

  async function requestByToken(stream: FramedStream, connection: Connection): Promise<Admitted> {
    const terms = tokenTermsFor(connection);
    return { card: await requestAdmission(stream, terms), standing: terms.standing };
  }

  async function grantByToken(stream: FramedStream, connection: Connection): Promise<void> {
    const terms = tokenTermsFor(connection);
    const theirs = await grantAdmission(stream, terms);
    membership.admit(connection, { card: theirs, standing: terms.standing });
  }

  async function grantMutually(stream: FramedStream, connection: Connection): Promise<void> {
    await grantMutualAdmission(stream, termsFor(connection), (admitted) =>
      membership.admit(connection, admitted),
    );
  }

  function answerBy(grant: (stream: FramedStream, connection: Connection) => Promise<void>) {
    return (stream: Stream, connection: Connection): void => {
      grant(frameStream(stream, LIMITS), connection).catch((error: unknown) =>
        refuse(connection, error),
      );
    };
  }

  function denied(who: string | undefined, what?: string): void {
    audit.record({ kind: "deny", at: "admission", reason: "not-admitted", who, what });
  }

  function refuse(connection: Connection, error: unknown): void {
    metrics.admissions.add(1, { outcome: "refused" });
    logger.info({ error, address: connection.remoteAddr.toString() }, "a peer was not admitted");
    denied(endpointOf(connection.remoteAddr)?.host, peerOf(connection));
    connection.abort(unreachable("was not admitted"));
  }

  /** Once for each: it is dialled again and again, and may be upgraded meanwhile. */
  function tellOtherVersion(connection: Connection, error: unknown): void {
    const peer = peerOf(connection);
    if (otherVersions.has(peer) || otherVersions.size >= MAX_OTHER_VERSIONS) return;
    otherVersions.add(peer);
    const address = connection.remoteAddr.toString();
    logger.warn({ error, peer, address }, "a machine of the site runs another version of Shoal");
  }

  return {
    async request(connection) {
      try {
        const signal = AbortSignal.timeout(ADMISSION_MS);
        // A member of the version before knows the first protocol alone.
        const opened = await connection.newStream([MUTUAL_ADMISSION_PROTOCOL, ADMISSION_PROTOCOL], {
          signal,
        });
        const stream = frameStream(opened, LIMITS);
        const admitted =
          opened.protocol === ADMISSION_PROTOCOL
            ? await requestByToken(stream, connection)
            : await requestMutualAdmission(stream, termsFor(connection));
        membership.admit(connection, admitted);
        stream.abort(unreachable("has ended the admission"));
      } catch (cause) {
        const error = isUnknownProtocol(cause) ? otherVersion(cause) : cause;
        if (error !== cause) tellOtherVersion(connection, error);
        refuse(connection, error);
        throw error;
      }
    },
    protocols: {
      [MUTUAL_ADMISSION_PROTOCOL]: answerBy(grantMutually),
      [ADMISSION_PROTOCOL]: answerBy(grantByToken),
    },
    expect(connection) {
      clock.schedule(UNASKED_MS, () => {
        if (connection.status === "open" && !membership.isAdmitted(connection))
          refuse(connection, unreachable("asked for no admission"));
      });
    },
    stranger: (host) => denied(host),
  };
}
