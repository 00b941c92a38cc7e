import { createHash } from "node:crypto";
import {
  type AbortOptions,
  type Clock,
  CodedError,
  createCoalescer,
  keepNewest,
} from "@shoal/runtime";
import { z } from "zod";
import { basicAuthorization, type Credential } from "./credential.ts";
import { readAll, type WireResponse } from "./receiver.ts";
import type { RegistryEndpoint } from "./settings.ts";

export interface TokenQuestion {
  readonly endpoint: RegistryEndpoint;
  /** Already checked. */
  readonly realm: URL;
  readonly service: string | undefined;
  readonly scope: string;
  readonly credential: Credential | undefined;
}

/** Sends one request to a token server; throws for rate limits and network failures only. */
export type SendToTokenServer = (
  question: TokenQuestion,
  request: {
    readonly method: "GET" | "POST";
    readonly url: URL;
    readonly headers: Readonly<Record<string, string>>;
    readonly body?: string;
  },
  options: AbortOptions,
) => Promise<WireResponse>;

/** Bearer tokens, kept while they are good. Distribution spec, "Token Authentication". */
export interface Tokens {
  /** @throws ERR_UPSTREAM_UNAUTHORIZED when the token server refuses the login */
  get(question: TokenQuestion, options?: AbortOptions): Promise<string>;
  /** Forgets a token that the registry no longer takes. */
  drop(question: TokenQuestion, token: string): void;
}

const TokenAnswerSchema = z.object({
  token: z.string().nullish(),
  access_token: z.string().nullish(),
  expires_in: z.number().nullish(),
});

const DEFAULT_LIFETIME_S = 60;
const MAX_LIFETIME_S = 3600;
const MAX_ANSWER_BYTES = 1024 * 1024;
const MAX_CACHED = 1000;
/** Statuses of servers that do not know identity tokens by POST. */
const NO_OAUTH = new Set([400, 401, 404, 405]);

export function createTokens(components: {
  readonly clock: Clock;
  readonly send: SendToTokenServer;
}): Tokens {
  const { clock, send } = components;
  const cache = new Map<string, { token: string; untilMs: number }>();
  const questions = createCoalescer<string>();

  async function ask(question: TokenQuestion, key: string, options: AbortOptions): Promise<string> {
    const askedAtMs = clock.now();
    const response = await request(question, options);
    const answer = await readAnswer(question, response);
    const lifetimeS = Math.min(
      Math.max(answer.expires_in ?? DEFAULT_LIFETIME_S, 0),
      MAX_LIFETIME_S,
    );
    const token = answer.token || answer.access_token;
    if (!token || !/^[\x21-\x7e]+$/.test(token))
      throw refusal(question, "answered without a usable token");
    // A token that ends on its way is a wasted request.
    const marginMs = Math.min(10_000, lifetimeS * 100);
    keepNewest(cache, key, { token, untilMs: askedAtMs + lifetimeS * 1000 - marginMs }, MAX_CACHED);
    return token;
  }

  async function request(question: TokenQuestion, options: AbortOptions): Promise<WireResponse> {
    const { credential, service, scope, realm } = question;
    if (credential?.kind === "identity-token") {
      const form = new URLSearchParams({
        grant_type: "refresh_token",
        client_id: "shoal",
        refresh_token: credential.token,
        scope,
        ...(service === undefined ? {} : { service }),
      });
      const headers = { "content-type": "application/x-www-form-urlencoded" };
      const response = await send(
        question,
        { method: "POST", url: realm, headers, body: form.toString() },
        options,
      );
      if (!NO_OAUTH.has(response.status)) return response;
      response.body.discard();
    }
    const url = new URL(realm);
    if (service !== undefined) url.searchParams.set("service", service);
    url.searchParams.set("scope", scope);
    const headers =
      credential === undefined ? {} : { authorization: basicAuthorization(credential) };
    return await send(question, { method: "GET", url, headers }, options);
  }

  async function readAnswer(
    question: TokenQuestion,
    response: WireResponse,
  ): Promise<z.infer<typeof TokenAnswerSchema>> {
    if (response.status !== 200) {
      response.body.discard();
      throw refusal(question, `answered with status ${response.status}`, response.status);
    }
    const bytes = await readAll(response.body, MAX_ANSWER_BYTES, () =>
      refusal(question, "sent more than a token"),
    );
    try {
      return TokenAnswerSchema.parse(JSON.parse(Buffer.from(bytes).toString("utf8")));
    } catch {
      // The cause is left out: it may quote a token.
      throw refusal(question, "answered with something other than a token");
    }
  }

  return {
    async get(question, options = {}) {
      const key = keyOf(question);
      const known = cache.get(key);
      if (known !== undefined && known.untilMs > clock.now()) return known.token;
      return await questions.run(key, (signal) => ask(question, key, { signal }), options);
    },
    drop(question, token) {
      const key = keyOf(question);
      if (cache.get(key)?.token === token) cache.delete(key);
    },
  };
}

function keyOf(question: TokenQuestion): string {
  const { endpoint, realm, service, scope, credential } = question;
  // A hash, so that no login lies about in the keys of a map.
  const login =
    credential === undefined
      ? ""
      : createHash("sha256").update(basicAuthorization(credential)).digest("base64");
  return JSON.stringify([endpoint.registry, realm.href, service, scope, credential?.kind, login]);
}

function refusal(question: TokenQuestion, problem: string, status?: number): CodedError {
  const { endpoint, realm, credential } = question;
  const details = { registry: endpoint.registry, host: realm.host, status };
  const who = `the token server of ${endpoint.registry}, ${realm.host},`;
  if (status === undefined)
    return new CodedError(
      "ERR_UPSTREAM_NOT_A_REGISTRY",
      `${who} ${problem}; is the registry configured rightly?`,
      {
        details,
      },
    );
  if (status === 401 || status === 403 || status === 400)
    return new CodedError(
      "ERR_UPSTREAM_UNAUTHORIZED",
      credential === undefined
        ? `${who} gives nothing to strangers; run docker login or podman login for ${endpoint.registry}, or check the name`
        : `${who} does not accept the login; log in to ${endpoint.registry} again`,
      { details },
    );
  return new CodedError("ERR_UPSTREAM_STATUS", `${who} ${problem}; try again later`, { details });
}
