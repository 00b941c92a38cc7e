import type { Credential } from "./credential.ts";
import type { Quirk, RecordedRequest } from "./scripted-answer.ts";
import {
  createScriptedRegistry,
  type ScriptedAuth,
  type ScriptedRegistry,
} from "./scripted-registry.ts";

/** What one kind of registry does beside the specification. A pull from it ends well. */
export interface RegistryQuirk {
  /** Whose it is, and what it does. */
  readonly name: string;
  readonly auth?: ScriptedAuth;
  /** What its users log in with. */
  readonly login?: Credential;
  /** Blobs are on a CDN of another origin, behind signed URLs. */
  readonly behindCdn?: boolean;
  /** What it does to an answer; `nth` counts the requests that ask the same, from 1. */
  readonly quirkOf?: (
    request: RecordedRequest,
    nth: number,
    registry: ScriptedRegistry,
  ) => Quirk | undefined;
  /** The same for its CDN. */
  readonly cdnQuirkOf?: (request: RecordedRequest, nth: number) => Quirk | undefined;
}

export interface QuirkyRegistry extends AsyncDisposable {
  readonly registry: ScriptedRegistry;
  readonly cdn: ScriptedRegistry;
  /** Everything that has served as a login so far: to be found nowhere but in requests to the registry. */
  secrets(): readonly string[];
}

const isBlob = ({ path }: RecordedRequest): boolean => path.includes("/blobs/");
const isManifest = ({ path }: RecordedRequest): boolean => path.includes("/manifests/");
const login = (username: string, password: string): Credential & { kind: "basic" } => ({
  kind: "basic",
  username,
  password,
});

const ECR = login("AWS", "eyJwYXlsb2FkIjoiZWNyIn0=".repeat(40));
const JSON_KEY = login(
  "_json_key",
  '{\n  "type": "service_account",\n  "private_key": "a:b\\n"\n}',
);
const ROBOT = login("team+robot", "quay-robot-secret");
const ACR_TOKEN = "acr-refresh-token-0123456789";

/** The registries that people pull from, by what each does differently. */
export const QUIRKY_REGISTRIES: readonly RegistryQuirk[] = [
  {
    name: "ECR: Basic alone, and a GET of a manifest without its digest",
    auth: ECR,
    login: ECR,
    quirkOf: (request) =>
      isManifest(request) && request.method === "GET"
        ? { omit: ["docker-content-digest"] }
        : undefined,
  },
  {
    name: "ECR Public: 400 for a token that has expired",
    auth: { kind: "bearer", expiredStatus: 400, scope: "aws" },
    quirkOf(request, nth, registry) {
      if (isBlob(request) && nth === 1) registry.expireTokens();
      return undefined;
    },
  },
  {
    name: "ACR: an identity token, exchanged by POST for an access_token",
    auth: { kind: "bearer", identityToken: ACR_TOKEN, accessToken: true, expiresInS: null },
    login: {
      kind: "identity-token",
      username: "00000000-0000-0000-0000-000000000000",
      token: ACR_TOKEN,
    },
  },
  {
    name: "an identity token where only GET with Basic is known",
    auth: { kind: "bearer", login: { username: "me", password: ACR_TOKEN } },
    login: { kind: "identity-token", username: "me", token: ACR_TOKEN },
  },
  {
    name: "GCR and Artifact Registry: a challenge without a scope, and a JSON key as the password",
    auth: {
      kind: "bearer",
      challenge: 'Bearer realm="REALM",service="gcr.io"',
      login: JSON_KEY,
    },
    login: JSON_KEY,
    behindCdn: true,
  },
  {
    name: "Quay: several challenges, and a scope that is junk",
    auth: {
      kind: "bearer",
      challenge: 'Negotiate, bEaReR realm="REALM" , Service="quay.io",scope="junk", Basic realm=x',
      login: ROBOT,
    },
    login: ROBOT,
    behindCdn: true,
  },
  {
    name: "GHCR: tokens for everybody, blobs on a CDN that answers 400 to a login",
    auth: { kind: "bearer" },
    behindCdn: true,
    cdnQuirkOf: ({ headers }) =>
      headers.authorization === undefined ? undefined : { status: 400 },
  },
  {
    name: "Harbor: 404 to the HEAD of a blob before its first GET, other headers in HEAD than in GET",
    auth: login("robot$team+ci", "harbor-secret"),
    login: login("robot$team+ci", "harbor-secret"),
    quirkOf(request, _nth, registry) {
      if (request.method !== "HEAD") return undefined;
      if (isManifest(request))
        return {
          headers: {
            "content-type": "text/plain; charset=utf-8",
            "docker-content-digest": `sha256:${"0".repeat(64)}`,
            "content-length": "0",
          },
        };
      const known = registry.requests.some(
        ({ method, path }) => method === "GET" && path === request.path,
      );
      return known ? undefined : { status: 404 };
    },
  },
  {
    name: "Nexus: no ranges, and lengths of 0 in HEAD",
    auth: login("deploy", "nexus-secret"),
    login: login("deploy", "nexus-secret"),
    quirkOf: (request) => ({
      noRange: true,
      ...(request.method === "HEAD" ? { headers: { "content-length": "0" } } : {}),
    }),
  },
  {
    name: "Aliyun: object storage whose signed URLs have expired at first",
    auth: { kind: "bearer", expiresInS: null, login: login("me@example", "aliyun-secret") },
    login: login("me@example", "aliyun-secret"),
    behindCdn: true,
    cdnQuirkOf: (_request, nth) => (nth === 1 ? { status: 403, body: "<Error/>" } : undefined),
  },
  {
    name: "a token that expires in mid-blob, when the connection breaks",
    auth: { kind: "bearer", login: login("me", "mid-blob-secret") },
    login: login("me", "mid-blob-secret"),
    quirkOf(request, nth, registry) {
      if (!isBlob(request) || request.method !== "GET") return undefined;
      if (nth === 1) return { truncateAfter: 70_000 };
      if (nth === 2) registry.expireTokens();
      return undefined;
    },
  },
  {
    name: "a registry whose HEAD tells no length",
    quirkOf: ({ method }) => ({ chunked: method === "HEAD" }),
  },
  {
    name: "a registry that knows no HEAD",
    quirkOf: ({ method }) => (method === "HEAD" ? { status: 501 } : undefined),
  },
  {
    name: "a CDN that redirects four times more",
    behindCdn: true,
    cdnQuirkOf({ path }) {
      const hop = Number(/hop=(\d+)$/.exec(path)?.[1] ?? 0);
      return hop < 4 ? { status: 302, headers: { location: `${path}&hop=${hop + 1}` } } : undefined;
    },
  },
];

/** Starts a registry with the quirk, and its CDN on another address. A login that has come to the CDN fails the disposal. */
export async function createQuirkyRegistry(quirk: RegistryQuirk): Promise<QuirkyRegistry> {
  const registry = await createScriptedRegistry(
    quirk.auth === undefined ? {} : { auth: quirk.auth },
  );
  const cdn = await createScriptedRegistry({ host: "127.0.0.2" });
  const nth = (of: ScriptedRegistry, request: RecordedRequest): number =>
    of.requests.filter(({ method, path }) => method === request.method && path === request.path)
      .length;

  registry.script((request) => {
    const own = quirk.quirkOf?.(request, nth(registry, request), registry);
    if (own !== undefined || quirk.behindCdn !== true || !isBlob(request)) return own;
    // A redirect is only for those who may have the blob.
    if (quirk.auth !== undefined && request.headers.authorization === undefined) return undefined;
    return {
      status: 307,
      headers: { location: `${cdn.origin}${request.path}?X-Amz-Signature=abc` },
    };
  });
  cdn.script((request) => quirk.cdnQuirkOf?.(request, nth(cdn, request)));

  return {
    registry,
    cdn,
    secrets() {
      const given = registry.requests.flatMap(({ headers }) =>
        headers.authorization === undefined ? [] : [headers.authorization.split(" ").at(-1)!],
      );
      const known = quirk.login?.kind === "basic" ? quirk.login.password : quirk.login?.token;
      const all = [...registry.secrets(), ...given, ...(known === undefined ? [] : [known])];
      return [...new Set(all)];
    },
    async [Symbol.asyncDispose]() {
      await registry[Symbol.asyncDispose]();
      await cdn[Symbol.asyncDispose]();
      const heard = cdn.requests.filter(({ headers }) => headers.authorization !== undefined);
      if (heard.length > 0) throw new Error(`the CDN of ${quirk.name} was sent a login`);
    },
  };
}
