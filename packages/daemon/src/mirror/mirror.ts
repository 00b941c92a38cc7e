import { randomBytes } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import {
  type Digest,
  type DistributionRequest,
  isDigest,
  isSchema1,
  parseDistributionPath,
  parseRange,
  type Repository,
  resolveNaming,
} from "@shoal/oci";
import { type AuditLog, type Clock, hasCode, type Logger, noAuditLog } from "@shoal/runtime";
import type { Swarm } from "@shoal/swarm";
import type { MirrorGate } from "../access/mirror-gate.ts";
import { requestUrl } from "../request-url.ts";
import { createAnswerDeadline } from "./answer-deadline.ts";
import { clientAbort, failureOf, sendError } from "./answers.ts";
import { BodyCut, sendBody } from "./body.ts";
import { createBodySlots } from "./body-slots.ts";
import { createBrokenImages } from "./broken-images.ts";
import type { ClientSightings } from "./clients.ts";
import type { Document, Documents } from "./documents.ts";
import type { ImageNames } from "./image-names.ts";
import type { MirrorMetrics } from "./metrics.ts";
import { nextPageLink } from "./next-page.ts";
import { partialContent } from "./partial-content.ts";
import { type PullFacts, recordPull } from "./pull-audit.ts";
import { createSizes } from "./sizes.ts";

export interface MirrorComponents {
  readonly swarm: Pick<Swarm, "resolve" | "open" | "stat">;
  /** Has to let each request pass. @default it does */
  readonly gate?: MirrorGate;
  readonly names: Pick<ImageNames, "resolved">;
  readonly documents: Documents;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: MirrorMetrics;
  readonly clients: Pick<ClientSightings, "seen">;
  /** @default nowhere */
  readonly audit?: AuditLog;
}

/** What one request is about. */
interface Exchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly signal: AbortSignal;
  readonly url: URL;
  readonly query: URLSearchParams;
}

type Kind = DistributionRequest["kind"] | "unknown";

const STALE = '110 shoal "Response is Stale"';

/** The pull side of the OCI distribution spec, for container engines. */
export type Mirror = (request: IncomingMessage, response: ServerResponse) => Promise<void>;

export function createMirror(components: MirrorComponents): Mirror {
  const { swarm, names, documents, clock, logger, metrics, clients } = components;
  const { audit = noAuditLog } = components;
  const sizes = createSizes(logger);
  const slots = createBodySlots();
  const brokenImages = createBrokenImages({ swarm, sizes, clock });

  async function answerManifest(
    { request, response, signal }: Exchange,
    repository: Repository,
    reference: Extract<DistributionRequest, { kind: "manifest" }>["reference"],
    alone: boolean,
    facts: PullFacts,
  ): Promise<void> {
    const accept = request.headers.accept?.split(",").map((type) => type.trim());
    const found = await swarm.resolve(repository, reference, {
      signal,
      // What a tag names is its registry's word, whoever has asked it.
      alone: alone && isDigest(reference),
      ...(accept === undefined ? {} : { accept }),
    });
    facts.digest = found.digest;
    facts.stale = found.stale;
    const children = sizes.learn(found);
    await brokenImages.ensureWhole(repository, found.digest, children, { signal, alone });
    if (!isDigest(reference) && !isSchema1(found.mediaType))
      names.resolved(repository, reference, found);
    const headers: Record<string, string | number> = {
      "content-type": found.mediaType,
      "content-length": found.bytes.length,
      "docker-content-digest": found.digest,
      etag: `"${found.digest}"`,
    };
    // RFC 9111, section 5.1, and RFC 7234, section 5.5.1, for people who look.
    if (!isDigest(reference)) headers["age"] = Math.round(found.ageMs / 1000);
    if (found.stale) headers["warning"] = STALE;
    response.writeHead(200, headers);
    if (request.method === "HEAD") {
      response.end();
      return;
    }
    metrics.sentBytes.add(found.bytes.length);
    facts.bytes = found.bytes.length;
    response.end(found.bytes);
  }

  async function answerBlob(
    { request, response, signal }: Exchange,
    repository: Repository,
    digest: Digest,
    alone: boolean,
    facts: PullFacts,
  ): Promise<void> {
    const toldBytes = sizes.get(digest);
    const asked = {
      digest,
      repository,
      alone,
      ...(toldBytes === undefined ? {} : { sizeBytes: toldBytes }),
    };
    const headers = {
      "docker-content-digest": digest,
      "accept-ranges": "bytes",
      etag: `"${digest}"`,
    };
    // What needs no bytes must not begin a transfer.
    if (request.method === "HEAD") {
      const { sizeBytes } = await swarm.stat(asked, { signal });
      response.writeHead(200, { ...headers, ...partialContent(undefined, sizeBytes, "").headers });
      response.end();
      return;
    }
    let wanted: ReturnType<typeof parseRange> = undefined;
    if (request.headers.range !== undefined) {
      const { sizeBytes } = await swarm.stat(asked, { signal });
      wanted = parseRange(request.headers.range, sizeBytes);
      if (wanted === "unsatisfiable") {
        const range = { "content-range": `bytes */${sizeBytes}`, "content-length": 0 };
        response.writeHead(416, { ...headers, ...range });
        response.end();
        return;
      }
    }
    using slot = slots.take();
    await using blob = await swarm.open(asked, { signal });
    const content = partialContent(wanted, blob.sizeBytes, randomBytes(16).toString("hex"));
    await sendBody(response, {
      status: content.status,
      headers: { ...headers, ...content.headers },
      chunks: content.chunks((range) => blob.stream(range, { signal })),
      mayReadAhead: slot.mayReadAhead,
      clock,
      signal,
      onBytes(lengthBytes) {
        facts.bytes += lengthBytes;
        metrics.sentBytes.add(lengthBytes);
      },
    });
    if (wanted === undefined) brokenImages.succeeded(repository, digest);
  }

  function answerDocument({ request, response, url }: Exchange, document: Document): void {
    response.writeHead(200, {
      "content-type": document.mediaType,
      "content-length": document.bytes.length,
      age: String(Math.round(document.ageMs / 1000)),
      ...(document.stale ? { warning: STALE } : {}),
      ...(document.nextQuery === undefined ? {} : { link: nextPageLink(url, document.nextQuery) }),
      ...(document.filtersApplied === undefined
        ? {}
        : { "oci-filters-applied": document.filtersApplied }),
    });
    response.end(request.method === "HEAD" ? undefined : document.bytes);
  }

  async function answer(exchange: Exchange, asked: DistributionRequest): Promise<void> {
    const { response, query, signal } = exchange;
    if (asked.kind === "base") {
      response.writeHead(200, { "content-type": "application/json", "content-length": 2 });
      response.end(exchange.request.method === "HEAD" ? undefined : "{}");
      return;
    }
    if (asked.kind === "upload") {
      refusePush(exchange.request, response);
      return;
    }
    clients.seen(exchange.request.headers["user-agent"]);
    const repository = resolveNaming(asked.name, query.get("ns") ?? undefined);
    query.delete("ns");
    const passing = components.gate?.(exchange.request, repository, asked, { signal });
    const alone = passing !== undefined && (await passing).alone;
    switch (asked.kind) {
      case "manifest":
        await recordPull(
          audit,
          { request: exchange.request, object: "manifest", repository, name: asked.reference },
          async (facts) =>
            await answerManifest(exchange, repository, asked.reference, alone, facts),
        );
        return;
      case "blob":
        await recordPull(
          audit,
          { request: exchange.request, object: "blob", repository, name: asked.digest },
          async (facts) =>
            await brokenImages.watch(
              repository,
              asked.digest,
              async () => await answerBlob(exchange, repository, asked.digest, alone, facts),
            ),
        );
        return;
      case "tags":
        answerDocument(exchange, await documents.tags(repository, query, { signal }));
        return;
      case "referrers":
        answerDocument(
          exchange,
          await documents.referrers(repository, asked.digest, query, { signal }),
        );
        return;
    }
  }

  function refusePush({ socket }: IncomingMessage, response: ServerResponse): void {
    audit.record({ kind: "deny", at: "mirror", reason: "push", who: socket.remoteAddress });
    sendError(response, unsupported);
  }

  function report(kind: Kind, response: ServerResponse, startMs: number): void {
    const labels = { kind, status: `${Math.floor(response.statusCode / 100)}xx` };
    metrics.requests.add(1, labels);
    metrics.seconds.observe((clock.now() - startMs) / 1000, { kind });
  }

  return async (request, response) => {
    const startMs = clock.now();
    const url = requestUrl(request);
    const asked = url === undefined ? undefined : parseDistributionPath(url.pathname);
    const kind: Kind = asked?.kind ?? "unknown";
    try {
      if (request.method !== "GET" && request.method !== "HEAD") refusePush(request, response);
      else if (url === undefined || asked === undefined)
        sendError(response, {
          status: 404,
          code: "NAME_UNKNOWN",
          message: "no such path in the distribution API",
        });
      else {
        const waiting = clientAbort(request, response);
        using _deadline = createAnswerDeadline(waiting, response, clock);
        const { signal } = waiting;
        const query = new URLSearchParams(url.search);
        await answer({ request, response, signal, url, query }, asked);
      }
    } catch (error) {
      if (error instanceof BodyCut)
        logger.info({ error: error.cause, url: request.url }, "a body ended short");
      else if (hasCode(error, "ERR_CLIENT_GONE")) response.destroy();
      else {
        logger.info({ error, url: request.url }, "a request could not be answered");
        if (response.headersSent) response.destroy();
        else
          sendError(
            response,
            failureOf(error, kind === "manifest" || kind === "blob" ? kind : "name"),
          );
      }
    } finally {
      report(kind, response, startMs);
    }
  };
}

const unsupported = {
  status: 405,
  code: "UNSUPPORTED",
  message: "Shoal's mirror is for pulling; push to the registry itself",
} as const;
