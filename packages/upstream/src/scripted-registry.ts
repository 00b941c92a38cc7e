import { randomBytes } from "node:crypto";
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type ServerResponse,
} from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import {
  type Digest,
  type DigestAlgorithm,
  parseDistributionPath,
  parseRange,
  parseRegistryHost,
  parseRepositoryName,
  type RegistryHost,
  type Repository,
} from "@shoal/oci";
import { answer, pause, type Quirk, type RecordedRequest } from "./scripted-answer.ts";
import { listReferrers, listTags } from "./scripted-documents.ts";
import { createScriptedLibrary, type LibraryImage } from "./scripted-library.ts";

export type ScriptedAuth =
  | {
      readonly kind: "basic";
      readonly username: string;
      readonly password: string;
      /** Status that tells of another login. @default 401 */
      readonly refusedStatus?: number;
    }
  | {
      readonly kind: "bearer";
      /** Where tokens are to be had. @default this server's /token */
      readonly realm?: string;
      /** What the challenge names. @default the repository, to pull */
      readonly scope?: string;
      /** The whole challenge, with the realm for `REALM`. */
      readonly challenge?: string;
      /** Who may have a token. @default everybody */
      readonly login?: { readonly username: string; readonly password: string };
      /** Taken by POST; without it the token server knows GET alone. */
      readonly identityToken?: string;
      /** Sent as `expires_in`; null sends none. @default 300 */
      readonly expiresInS?: number | null;
      /** Name the token `access_token`. */
      readonly accessToken?: boolean;
      /** Status that tells of a token that is no longer good. @default 401 */
      readonly expiredStatus?: number;
    };

export interface ScriptedRegistryInit {
  /** PEM: speak TLS. With `ca`, to those alone who show a certificate of that authority. */
  readonly tls?: { readonly key: string; readonly cert: string; readonly ca?: string };
  /** @default 127.0.0.1 */
  readonly host?: string;
  readonly auth?: ScriptedAuth;
  /** Knows the referrers API. @default false: 404, as of older registries */
  readonly referrers?: boolean;
}

export interface ScriptedImage extends LibraryImage {
  readonly repository: Repository;
}

/** A registry of the pull side on a real socket, whose every answer can be spoiled. */
export interface ScriptedRegistry extends AsyncDisposable {
  readonly registry: RegistryHost;
  /** `http://127.0.0.1:PORT` */
  readonly origin: string;
  /** Every request that has come, token requests included, oldest first. */
  readonly requests: RecordedRequest[];
  repository(name: string): Repository;
  addBlob(bytes: Uint8Array, algorithm?: DigestAlgorithm): Digest;
  /** Under its digest, and under `tag` if one is given. */
  addManifest(name: string, bytes: Uint8Array, mediaType: string, tag?: string): Digest;
  /** An image of layers with these contents, or of random bytes of these sizes. */
  addImage(name: string, tag: string, layers: readonly (number | Uint8Array)[]): ScriptedImage;
  /** Asked before each answer; undefined answers well. @default always well */
  script(quirkOf: (request: RecordedRequest) => Quirk | undefined): void;
  /** Takes back every token given out. */
  expireTokens(): void;
  /** What it takes for a login, in every form, and each token that it ever gave. */
  secrets(): readonly string[];
}

/** Starts a scripted registry on a free port. */
export async function createScriptedRegistry(
  init: ScriptedRegistryInit = {},
): Promise<ScriptedRegistry> {
  const library = createScriptedLibrary();
  const requests: RecordedRequest[] = [];
  const tokens = new Set<string>();
  const given = new Set<string>();
  let quirkOf: (request: RecordedRequest) => Quirk | undefined = () => undefined;
  const host = init.host ?? "127.0.0.1";

  const listener: RequestListener = (incoming, response) => {
    void serve(incoming, response).catch((error: unknown) => {
      response.destroy(error instanceof Error ? error : undefined);
    });
  };
  const server =
    init.tls === undefined
      ? createServer(listener)
      : createTlsServer(
          {
            ...init.tls,
            requestCert: init.tls.ca !== undefined,
            rejectUnauthorized: init.tls.ca !== undefined,
          },
          listener,
        );
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, host, resolve);
  });
  const port = (server.address() as AddressInfo).port;
  const origin = `${init.tls === undefined ? "http" : "https"}://${host}:${port}`;
  const registry = parseRegistryHost(`${host}:${port}`);

  const repository = (name: string): Repository => ({ registry, name: parseRepositoryName(name) });

  async function serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = [];
    for await (const part of incoming) parts.push(part as Buffer);
    const request: RecordedRequest = {
      method: incoming.method ?? "",
      path: incoming.url ?? "",
      headers: incoming.headers,
      body: Buffer.concat(parts).toString("utf8"),
      status: 0,
      sentBytes: 0,
      closedEarly: false,
    };
    requests.push(request);
    response.once("close", () => {
      request.closedEarly = !response.writableFinished;
    });
    const quirk = quirkOf(request) ?? {};
    if (quirk.delayMs !== undefined) await pause(quirk.delayMs);
    const url = new URL(request.path, origin);
    if (quirk.status !== undefined)
      return await answer(request, response, quirk.status, {}, quirk.body ?? "", quirk);
    if (url.pathname === "/token") return await giveToken(request, response, url, quirk);
    const refusal = refuse(request, url);
    if (refusal !== undefined)
      return await answer(request, response, refusal.status, refusal.headers, refusal.body, quirk);
    return await serveContent(request, response, url, quirk);
  }

  async function serveContent(
    request: RecordedRequest,
    response: ServerResponse,
    url: URL,
    quirk: Quirk,
  ): Promise<void> {
    const wanted = parseDistributionPath(url.pathname);
    if (wanted?.kind === "base") return await answer(request, response, 200, {}, "{}", quirk);
    const document =
      wanted?.kind === "tags"
        ? listTags(library, wanted, url.searchParams)
        : wanted?.kind === "referrers" && init.referrers === true
          ? listReferrers(library, wanted, url.searchParams)
          : undefined;
    if (document !== undefined)
      return await answer(request, response, 200, document.headers, document.body, quirk);
    const content =
      wanted?.kind === "manifest"
        ? library.manifest(wanted.name, wanted.reference)
        : wanted?.kind === "blob"
          ? library.blob(wanted.digest)
          : undefined;
    if (content === undefined) {
      const code = wanted?.kind === "blob" ? "BLOB_UNKNOWN" : "MANIFEST_UNKNOWN";
      const body = JSON.stringify({ errors: [{ code, message: "not known here" }] });
      const headers = { "content-type": "application/json" };
      return await answer(request, response, 404, headers, body, quirk);
    }
    const headers: Record<string, string> = {
      "content-type": content.mediaType,
      "docker-content-digest": content.digest,
      ...(quirk.noRange === true ? {} : { "accept-ranges": "bytes" }),
    };
    const bytes = quirk.body ?? content.bytes;
    const size = bytes.length;
    const asked = request.headers.range;
    const range =
      asked === undefined || quirk.noRange === true || wanted?.kind !== "blob"
        ? undefined
        : parseRange(asked, size);
    if (range === "unsatisfiable")
      return await answer(
        request,
        response,
        416,
        { "content-range": `bytes */${size}` },
        "",
        quirk,
      );
    const one = range?.[0];
    if (one === undefined) return await answer(request, response, 200, headers, bytes, quirk);
    headers["content-range"] = `bytes ${one.start}-${one.end - 1}/${size}`;
    const part = bytes.slice(one.start, one.end);
    return await answer(request, response, 206, headers, part, quirk);
  }

  async function giveToken(
    request: RecordedRequest,
    response: ServerResponse,
    url: URL,
    quirk: Quirk,
  ): Promise<void> {
    const auth = init.auth;
    if (auth?.kind !== "bearer") return await answer(request, response, 404, {}, "", quirk);
    if (request.method === "POST" && auth.identityToken === undefined)
      return await answer(request, response, 405, {}, "", quirk);
    const form = new URLSearchParams(request.body);
    const known =
      request.method === "POST"
        ? form.get("refresh_token") === auth.identityToken
        : auth.login === undefined || request.headers.authorization === basic(auth.login);
    if (!known) return await answer(request, response, 401, {}, "", quirk);
    const random = randomBytes(6).toString("hex");
    const token = `${random}.${url.searchParams.get("scope") ?? form.get("scope") ?? ""}`;
    tokens.add(token);
    given.add(random).add(token);
    const lifetime = auth.expiresInS === undefined ? 300 : auth.expiresInS;
    const body = JSON.stringify({
      [auth.accessToken === true ? "access_token" : "token"]: token,
      ...(lifetime === null ? {} : { expires_in: lifetime }),
    });
    await answer(request, response, 200, { "content-type": "application/json" }, body, quirk);
  }

  function refuse(
    request: RecordedRequest,
    url: URL,
  ): { status: number; headers: Record<string, string>; body: string } | undefined {
    const { auth } = init;
    if (auth === undefined) return undefined;
    const given = request.headers.authorization;
    const body = JSON.stringify({ errors: [{ code: "UNAUTHORIZED", message: "log in" }] });
    if (auth.kind === "basic") {
      if (given === basic(auth)) return undefined;
      if (given !== undefined && auth.refusedStatus !== undefined)
        return { status: auth.refusedStatus, headers: {}, body };
      return { status: 401, headers: { "www-authenticate": 'Basic realm="scripted"' }, body };
    }
    if (given?.startsWith("Bearer ") === true && tokens.has(given.slice(7))) return undefined;
    if (given !== undefined && auth.expiredStatus !== undefined)
      return { status: auth.expiredStatus, headers: {}, body };
    const name = /^\/v2\/(.+)\/(?:manifests|blobs|tags|referrers)\//.exec(url.pathname)?.[1] ?? "";
    const realm = auth.realm ?? `${origin}/token`;
    const challenge =
      auth.challenge?.replace("REALM", realm) ??
      `Bearer realm="${realm}",service="scripted",scope="${auth.scope ?? `repository:${name}:pull`}"`;
    return { status: 401, headers: { "www-authenticate": challenge }, body };
  }

  return {
    registry,
    origin,
    requests,
    repository,
    addBlob: (bytes, algorithm) => library.addBlob(bytes, algorithm),
    addManifest: (name, bytes, mediaType, tag) => library.addManifest(name, bytes, mediaType, tag),
    addImage(name, tag, layers) {
      return { repository: repository(name), ...library.addImage(name, tag, layers) };
    },
    script(next) {
      quirkOf = next;
    },
    expireTokens() {
      tokens.clear();
    },
    secrets: () => [...loginSecrets(init.auth), ...given],
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
    },
  };
}

function loginSecrets(auth: ScriptedAuth | undefined): string[] {
  const login = auth?.kind === "basic" ? auth : auth?.login;
  const identityToken = auth?.kind === "bearer" ? auth.identityToken : undefined;
  return [
    ...(login === undefined ? [] : [login.password, basic(login).slice("Basic ".length)]),
    ...(identityToken === undefined ? [] : [identityToken]),
  ];
}

function basic(login: { readonly username: string; readonly password: string }): string {
  return `Basic ${Buffer.from(`${login.username}:${login.password}`).toString("base64")}`;
}
