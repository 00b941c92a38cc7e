import { formatRepository, type Repository } from "@shoal/oci";
import { type AbortOptions, hasCode, keepNewest } from "@shoal/runtime";
import { parseChallenges, pullScope } from "./challenge.ts";
import { basicAuthorization, type Credential, isSameLogin } from "./credential.ts";
import type { Credentials } from "./credentials.ts";
import { checkRealm } from "./realm.ts";
import type { RegistryEndpoint } from "./settings.ts";
import type { TokenQuestion, Tokens } from "./tokens.ts";

/** What goes into one request's `Authorization` header. */
export interface Authorization {
  readonly header: string;
  /** Whether a login stands behind it. */
  readonly loggedIn: boolean;
  /** Of a bearer token: what it was asked with. */
  readonly question?: TokenQuestion;
}

/** Finds the right header for each request to a registry. */
export interface Authorizer {
  /** From what the registry has asked for before; undefined when that is nothing yet. */
  current(
    endpoint: RegistryEndpoint,
    repository: Repository,
    options: AbortOptions,
  ): Promise<Authorization | undefined>;
  /**
   * After a refusal of `used`: a new header, or undefined when there is nothing better to offer.
   * @param challenge the refusal's `WWW-Authenticate`
   * @throws ERR_UPSTREAM_REALM
   */
  renew(
    endpoint: RegistryEndpoint,
    repository: Repository,
    used: Authorization | undefined,
    challenge: string | undefined,
    options: AbortOptions,
  ): Promise<Authorization | undefined>;
}

type Scheme =
  | { readonly kind: "basic" }
  | {
      readonly kind: "bearer";
      readonly realm: URL;
      readonly service: string | undefined;
      readonly scope: string;
    };

const MAX_REMEMBERED = 1000;

export function createAuthorizer(components: {
  readonly tokens: Tokens;
  readonly credentials: Credentials;
}): Authorizer {
  const { tokens, credentials } = components;
  const remembered = new Map<string, Scheme>();

  function remember(key: string, scheme: Scheme): void {
    keepNewest(remembered, key, scheme, MAX_REMEMBERED);
  }

  /** @param refused the header that the registry did not take */
  async function authorize(
    endpoint: RegistryEndpoint,
    repository: Repository,
    scheme: Scheme,
    options: AbortOptions,
    refused?: string,
  ): Promise<Authorization | undefined> {
    const credential = await credentials.find(repository, options);
    if (scheme.kind === "basic") {
      if (credential === undefined) return undefined;
      const header = basicAuthorization(credential);
      if (header !== refused) return { header, loggedIn: true };
      const other = await renewed(repository, credential, options);
      return other && { header: basicAuthorization(other), loggedIn: true };
    }
    try {
      return await bearer(endpoint, scheme, credential, options);
    } catch (error) {
      if (credential === undefined || !hasCode(error, "ERR_UPSTREAM_UNAUTHORIZED")) throw error;
      const other = await renewed(repository, credential, options);
      if (other === undefined) throw error;
      return await bearer(endpoint, scheme, other, options);
    }
  }

  /** Another login in the place of one that was refused: a helper's may have ended. */
  async function renewed(
    repository: Repository,
    refused: Credential,
    options: AbortOptions,
  ): Promise<Credential | undefined> {
    const found = await credentials.find(repository, { ...options, refused });
    return found === undefined || isSameLogin(found, refused) ? undefined : found;
  }

  async function bearer(
    endpoint: RegistryEndpoint,
    { realm, service, scope }: Extract<Scheme, { kind: "bearer" }>,
    credential: Credential | undefined,
    options: AbortOptions,
  ): Promise<Authorization> {
    const question: TokenQuestion = { endpoint, realm, service, scope, credential };
    const token = await tokens.get(question, options);
    return { header: `Bearer ${token}`, loggedIn: credential !== undefined, question };
  }

  function choose(
    endpoint: RegistryEndpoint,
    repository: Repository,
    challenge: string,
  ): Scheme | undefined {
    const challenges = parseChallenges(challenge);
    const bearer = challenges.find(({ scheme }) => scheme === "bearer")?.parameters;
    if (bearer !== undefined)
      return {
        kind: "bearer",
        realm: checkRealm(endpoint, bearer.get("realm")),
        service: bearer.get("service"),
        scope: pullScope(bearer.get("scope"), repository.name),
      };
    return challenges.some(({ scheme }) => scheme === "basic") ? { kind: "basic" } : undefined;
  }

  return {
    async current(endpoint, repository, options) {
      const scheme = remembered.get(formatRepository(repository));
      if (scheme === undefined) return undefined;
      return await authorize(endpoint, repository, scheme, options);
    },
    async renew(endpoint, repository, used, challenge, options) {
      const key = formatRepository(repository);
      if (used?.question !== undefined)
        tokens.drop(used.question, used.header.slice("Bearer ".length));
      const scheme =
        challenge === undefined ? remembered.get(key) : choose(endpoint, repository, challenge);
      if (scheme === undefined) return undefined;
      remember(key, scheme);
      const next = await authorize(endpoint, repository, scheme, options, used?.header);
      // The same Basic login again would be refused again.
      return next?.header === used?.header ? undefined : next;
    },
  };
}
