import type { Digest } from "@shoal/oci";
import { type AbortOptions, type Clock, CodedError } from "@shoal/runtime";
import { createBlobBody, type OpenRange } from "./blob-body.ts";
import { parseContentRange } from "./content-range.ts";
import { isTransient } from "./failures.ts";
import { contentLength, headerOf, type WireResponse } from "./receiver.ts";
import { at, type RegistryQuestion, type RegistryRequests } from "./requests.ts";
import { type RetryPolicy, withRetries } from "./retry.ts";
import type { Sources, Target } from "./sources.ts";
import type { BlobOptions, UpstreamBlob } from "./types.ts";

const RESUME_ATTEMPTS = 5;

/** Opens a blob or a range of it; what {@link UpstreamBlob} promises is kept here. */
export async function openBlob(
  components: {
    readonly clock: Clock;
    readonly random: () => number;
    readonly requests: RegistryRequests;
    readonly sources: Sources;
  },
  policy: RetryPolicy,
  question: RegistryQuestion,
  digest: Digest,
  options: BlobOptions,
): Promise<UpstreamBlob> {
  const { start = 0, end, sizeBytes, signal } = options;
  const { requests, sources } = components;
  const { registry } = question.repository;
  let served: Target | undefined;
  if (end !== undefined && end <= start) return { start, ...sized(sizeBytes), body: nothing() };

  const fail = (
    code: `ERR_${string}`,
    { endpoint }: Target,
    problem: string,
    status: number,
  ): CodedError =>
    new CodedError(code, `${endpoint.registry} ${problem}`, {
      details: { registry: endpoint.registry, status, start, sizeBytes },
    });

  async function open(from: number, openOptions: AbortOptions): Promise<OpenRange> {
    return await sources.ask(
      question.repository,
      async (target, isLast) => {
        const range = await openAt(target, from, isLast, openOptions);
        served = target;
        return range;
      },
      { ...openOptions, blob: digest },
    );
  }
  async function openAt(
    target: Target,
    from: number,
    isLast: boolean,
    openOptions: AbortOptions,
  ): Promise<OpenRange> {
    const partial = from > 0 || end !== undefined;
    const headers: Record<string, string> = { ...question.headers };
    if (partial) headers["range"] = `bytes=${from}-${end === undefined ? "" : end - 1}`;
    const response = await requests.send(at(target, { ...question, headers }), openOptions);
    const range = readRange(response, from, end);
    if (range === undefined) {
      response.body.close();
      throw fail(
        "ERR_UPSTREAM_STATUS",
        target,
        `answered a range of a blob with another one, or with none; its operator must repair that`,
        response.status,
      );
    }
    if (sizeBytes !== undefined && (range.sizeBytes ?? 0) > sizeBytes) {
      response.body.close();
      throw fail(
        "ERR_UPSTREAM_TOO_LONG",
        target,
        `has ${range.sizeBytes} bytes for a blob of ${sizeBytes}; its content is not what its manifest says`,
        response.status,
      );
    }
    // An endpoint's copy that was cut off is no reason to give up while others may have all of it.
    if (!isLast && sizeBytes !== undefined && (range.sizeBytes ?? sizeBytes) < sizeBytes) {
      response.body.close();
      throw fail(
        "ERR_UPSTREAM_TRUNCATED",
        target,
        `has ${range.sizeBytes} bytes of a blob of ${sizeBytes}`,
        response.status,
      );
    }
    return range;
  }

  const first = await withRetries(components, policy, isTransient, () => open(start, { signal }), {
    signal,
  });
  const body = createBlobBody(
    components,
    {
      registry,
      first,
      end,
      sizeBytes: sizeBytes ?? first.sizeBytes,
      maxAttempts: RESUME_ATTEMPTS,
      baseMs: policy.baseMs,
      async reopen(from, reopenOptions) {
        if (served !== undefined) sources.broke(served, "ERR_UPSTREAM_TRUNCATED");
        return await open(from, reopenOptions);
      },
      onTooLong() {
        if (served !== undefined) sources.broke(served, "ERR_UPSTREAM_TOO_LONG");
      },
    },
    { signal },
  );
  return { start: first.start, ...sized(first.sizeBytes), body };
}

/** What part of the blob a response carries, or undefined where it is not one that was asked for. Pure. */
function readRange(
  response: WireResponse,
  from: number,
  end: number | undefined,
): OpenRange | undefined {
  const { status, headers, body } = response;
  if (status === 206) {
    const range = parseContentRange(headerOf(headers, "content-range"));
    if (range === undefined || range.start !== from || range.end > (end ?? Infinity))
      return undefined;
    return { ...range, body };
  }
  if (status !== 200) return undefined;
  const length = contentLength(headers);
  // Some registries have no ranges and send everything.
  return length === undefined
    ? { start: 0, body }
    : { start: 0, end: length, sizeBytes: length, body };
}

function sized(sizeBytes: number | undefined): { sizeBytes?: number } {
  return sizeBytes === undefined ? {} : { sizeBytes };
}

async function* nothing(): AsyncGenerator<Uint8Array> {}
