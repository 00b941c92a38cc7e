import type { Connection, Stream } from "@libp2p/interface";
import type { Clock, Logger } from "@shoal/runtime";
import {
  ADMISSION_FRAME_BYTES,
  ADMISSION_MS,
  ADMISSION_PROTOCOL,
  type AdmissionInit,
  grantAdmission,
  requestAdmission,
} from "./admission.ts";
import { unreachable } from "./faults.ts";
import { frameStream } from "./frames.ts";
import type { Membership } from "./membership.ts";
import type { NetworkMetrics } from "./metrics.ts";

const LIMITS = { readBytes: ADMISSION_FRAME_BYTES, writeBytes: ADMISSION_FRAME_BYTES };
/** A connection on which nobody asks for admission is kept this long. Milliseconds. */
const UNASKED_MS = 8000;

/** Makes members of those at the other end of connections, or cuts them. */
export interface Admitting {
  /** Asks for admission, and grants it. Rejects when either side refuses. */
  request(connection: Connection): Promise<void>;
  /** Answers a request. To be called in the tick that made the stream. */
  answer(stream: Stream, connection: Connection): void;
  /** A connection that asks for no admission is not kept. */
  expect(connection: Connection): void;
}

export interface AdmittingComponents {
  readonly membership: Pick<Membership, "admit" | "isAdmitted">;
  /** What this machine shows, and asks the others to show. */
  readonly terms: () => Omit<AdmissionInit, "remote">;
  readonly metrics: Pick<NetworkMetrics, "admissions">;
  readonly clock: Clock;
  readonly logger: Logger;
}

export function createAdmitting(components: AdmittingComponents): Admitting {
  const { membership, terms, metrics, clock, logger } = components;

  function termsFor(connection: Connection): AdmissionInit {
    return { ...terms(), remote: connection.remotePeer.toString() };
  }

  function refuse(connection: Connection, error: unknown): void {
    metrics.admissions.add(1, { outcome: "refused" });
    logger.info({ error, address: connection.remoteAddr.toString() }, "a peer was not admitted");
    connection.abort(unreachable("was not admitted"));
  }

  return {
    async request(connection) {
      try {
        const signal = AbortSignal.timeout(ADMISSION_MS);
        const opened = await connection.newStream(ADMISSION_PROTOCOL, { signal });
        const stream = frameStream(opened, LIMITS);
        membership.admit(connection, await requestAdmission(stream, termsFor(connection)));
        stream.abort(unreachable("has ended the admission"));
      } catch (error) {
        refuse(connection, error);
        throw error;
      }
    },
    answer(stream, connection) {
      grantAdmission(frameStream(stream, LIMITS), termsFor(connection))
        .then((theirs) => membership.admit(connection, theirs))
        .catch((error: unknown) => refuse(connection, error));
    },
    expect(connection) {
      clock.schedule(UNASKED_MS, () => {
        if (connection.status === "open" && !membership.isAdmitted(connection))
          refuse(connection, unreachable("asked for no admission"));
      });
    },
  };
}
