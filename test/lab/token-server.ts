import { createPrivateKey, randomUUID, sign, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestCertificates } from "@shoal/upstream/testing";
import { secrets } from "./secrets.ts";

/** docker-registry takes a token for this long after its end. Seconds. */
const LEEWAY_S = 60;
/** What callers are told, so that they go on using a token that the registry takes no more. Seconds. */
const TOLD_S = 300;

export interface TokenServerInit {
  readonly certificate: Pick<TestCertificates, "certFile" | "keyFile">;
  readonly username: string;
  readonly password: string;
  /** The registry takes a token for so long. Seconds. */
  readonly goodForSeconds: number;
}

/** A token server for docker-registry, as the distribution spec's "Token Authentication" has it. */
export interface TokenServer extends AsyncDisposable {
  readonly realm: string;
  /** Tokens that it has given out. */
  readonly given: readonly string[];
}

export const ISSUER = "lab";
export const SERVICE = "lab-registry";

export async function startTokenServer(init: TokenServerInit): Promise<TokenServer> {
  const key = createPrivateKey(await readFile(init.certificate.keyFile));
  const { raw } = new X509Certificate(await readFile(init.certificate.certFile));
  const login = `Basic ${Buffer.from(`${init.username}:${init.password}`).toString("base64")}`;
  const given: string[] = [];

  function tokenFor(scope: string): string {
    const [type, name, actions = ""] = scope.split(":");
    const nowS = Date.now() / 1000;
    const part = (value: unknown): string =>
      Buffer.from(JSON.stringify(value)).toString("base64url");
    const head = part({ typ: "JWT", alg: "ES256", x5c: [raw.toString("base64")] });
    const claims = part({
      iss: ISSUER,
      sub: init.username,
      aud: SERVICE,
      exp: Math.round(nowS + init.goodForSeconds - LEEWAY_S),
      nbf: Math.round(nowS - 2 * LEEWAY_S),
      iat: Math.round(nowS - 2 * LEEWAY_S),
      jti: randomUUID(),
      access: [{ type, name, actions: actions.split(",").filter((action) => action === "pull") }],
    });
    const signed = `${head}.${claims}`;
    const signature = sign("sha256", Buffer.from(signed), { key, dsaEncoding: "ieee-p1363" });
    return `${signed}.${signature.toString("base64url")}`;
  }

  const server = createServer((request, response) => {
    const scope = new URL(request.url ?? "/", "http://localhost").searchParams.get("scope") ?? "";
    if (request.method !== "GET" || request.headers.authorization !== login) {
      response.writeHead(request.method === "GET" ? 401 : 405).end();
      return;
    }
    const token = tokenFor(scope);
    given.push(token);
    secrets.add(token);
    response
      .writeHead(200, { "content-type": "application/json" })
      .end(JSON.stringify({ token, expires_in: TOLD_S }));
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    realm: `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`,
    given,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => {
        server.close(resolve);
      });
    },
  };
}
