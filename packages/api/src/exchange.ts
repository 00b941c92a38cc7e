import { type AbortOptions, CodedError } from "@shoal/runtime";
import { Pool } from "undici";
import type * as z from "zod";
import { answerError, protocolError, transportError } from "./errors.ts";

/** How long the daemon may take to begin, and then to go on with, an answer. */
const ANSWER_TIMEOUT_MS = 30_000;
/** More than any list of a real daemon; a longer answer is no answer of ours. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;
/** So that a question that takes the daemon long does not hold up another. */
const CONNECTIONS = 4;

export interface ExchangeRequest {
  readonly method: "GET" | "POST" | "PATCH" | "DELETE";
  readonly path: string;
  /** Sent as JSON. */
  readonly body?: unknown;
}

/** One question and its answer over the daemon's socket, each answer checked against its schema. */
export interface Exchange extends AsyncDisposable {
  /** @throws the daemon's own code; ERR_DAEMON_UNREACHABLE, ERR_SOCKET_PERMISSION, ERR_API_PROTOCOL */
  ask<Schema extends z.ZodType>(
    request: ExchangeRequest,
    schema: Schema,
    options: AbortOptions,
  ): Promise<z.infer<Schema>>;
  /** As {@link ask}, where only success or failure counts. */
  tell(request: ExchangeRequest, options: AbortOptions): Promise<void>;
}

export function createExchange(socketPath: string): Exchange {
  const pool = new Pool("http://localhost", {
    socketPath,
    connections: CONNECTIONS,
    headersTimeout: ANSWER_TIMEOUT_MS,
    bodyTimeout: ANSWER_TIMEOUT_MS,
    maxResponseSize: MAX_ANSWER_BYTES,
  });

  async function send(request: ExchangeRequest, signal: AbortSignal | undefined): Promise<string> {
    signal?.throwIfAborted();
    try {
      const answer = await pool.request({
        method: request.method,
        path: request.path,
        ...(request.body === undefined
          ? {}
          : {
              body: JSON.stringify(request.body),
              headers: { "content-type": "application/json" },
            }),
        ...(signal === undefined ? {} : { signal }),
      });
      const text = await answer.body.text();
      if (answer.statusCode < 200 || answer.statusCode > 299)
        throw answerError(describe(request), answer.statusCode, text);
      return text;
    } catch (error) {
      if (signal?.aborted === true) throw signal.reason;
      if (error instanceof CodedError) throw error;
      throw transportError(describe(request), error, socketPath);
    }
  }

  return {
    async ask(request, schema, options) {
      const text = await send(request, options.signal);
      return parseAnswer(describe(request), schema, text);
    },
    async tell(request, options) {
      await send(request, options.signal);
    },
    async [Symbol.asyncDispose]() {
      await pool.destroy();
    },
  };
}

function describe(request: ExchangeRequest): string {
  return `${request.method} ${request.path}`;
}

/** The text as JSON of `schema`. @throws ERR_API_PROTOCOL */
export function parseAnswer<Schema extends z.ZodType>(
  action: string,
  schema: Schema,
  text: string,
): z.infer<Schema> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw protocolError(`${action} was not answered with JSON`, {}, cause);
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const where = issue === undefined ? "" : ` (${issue.path.join(".")}: ${issue.message})`;
  throw protocolError(`${action} was answered with something unexpected${where}`, {}, parsed.error);
}
