import type { IncomingMessage } from "node:http";
import { type Digest, formatRepository, isDigest, type Repository, type Tag } from "@shoal/oci";
import { type AuditLog, CodedError, hasCode } from "@shoal/runtime";
import { BodyCut } from "./body.ts";
import { engineOf } from "./clients.ts";

/** What a client has asked the mirror for. */
export interface AskedObject {
  readonly request: IncomingMessage;
  readonly object: "manifest" | "blob";
  readonly repository: Repository;
  readonly name: Tag | Digest;
}

/** What is learned while it is answered. */
export interface PullFacts {
  digest?: Digest;
  stale?: boolean;
  bytes: number;
}

/** Records one pull through the mirror, however it ends. Rethrows what `answer` throws. */
export async function recordPull(
  audit: AuditLog,
  asked: AskedObject,
  answer: (facts: PullFacts) => Promise<void>,
): Promise<void> {
  const { repository, name } = asked;
  const facts: PullFacts = isDigest(name) ? { digest: name, bytes: 0 } : { bytes: 0 };
  try {
    await answer(facts);
  } catch (error) {
    const cause = error instanceof BodyCut ? error.cause : error;
    const isGone = hasCode(cause, "ERR_CLIENT_GONE");
    record(isGone ? "cancelled" : "failed", isGone ? undefined : codeOf(cause));
    if (hasCode(cause, "ERR_DIGEST_MISMATCH"))
      audit.record({
        kind: "verification-failure",
        of: "upstream",
        who: repository.registry,
        digest: facts.digest,
      });
    throw error;
  }
  record("done", undefined);

  function record(outcome: "done" | "failed" | "cancelled", code: string | undefined): void {
    audit.record({
      kind: "pull",
      via: "mirror",
      object: asked.object,
      reference: referenceOf(asked),
      digest: facts.digest,
      client: clientOf(asked.request),
      outcome,
      code,
      stale: facts.stale === true ? true : undefined,
      bytes: facts.bytes,
    });
  }
}

function referenceOf({ object, repository, name }: AskedObject): string {
  const where = formatRepository(repository);
  if (object === "blob") return where;
  return `${where}${isDigest(name) ? "@" : ":"}${name}`;
}

/** The engine, and its address where that is not this machine's loopback. */
function clientOf({ headers, socket }: IncomingMessage): string {
  const engine = engineOf(headers["user-agent"]);
  const address = socket.remoteAddress ?? "";
  return /^(127\.|::1$|::ffff:127\.|$)/.test(address) ? engine : `${engine} ${address}`;
}

function codeOf(error: unknown): string {
  return error instanceof CodedError ? error.code : "ERR_INTERNAL";
}
