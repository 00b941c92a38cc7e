import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseReference, parseTag, type Repository } from "@shoal/oci";
import { noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import { afterAll, describe, expect, it } from "vitest";
import {
  createOwnAccess,
  type Credentials,
  createUpstream,
  type RegistrySettings,
} from "../src/index.ts";
import { createScriptedRegistry, createTestCertificates } from "../src/testing.ts";

const ours = createTestCertificates();
afterAll(() => ours[Symbol.dispose]());
const CLIENT = {
  clientCertFile: join(ours.folder, "leaf.pem"),
  clientKeyFile: join(ours.folder, "leaf.key"),
};
const TAG = parseTag("v1");
const login = { kind: "basic", username: "me", password: "own-access-secret" } as const;
const parts = { clock: systemClock, logger: silentLogger };

/** Logins by `registry/name`. */
function loginsFor(...names: string[]): Credentials {
  return {
    find: async ({ registry, name }) => (names.includes(`${registry}/${name}`) ? login : undefined),
  };
}

async function has(
  name: string,
  credentials: Credentials,
  registries: Record<string, RegistrySettings> = {},
): Promise<boolean> {
  const access = createOwnAccess({ ...parts, credentials }, { registries, certificateFolders: [] });
  return await access.has(parseReference(name).repository);
}

describe("what this machine has to show", () => {
  it("is a login for the repository", async () => {
    expect(await has("corp.test/team/app", loginsFor("corp.test/team/app"))).toBe(true);
    expect(await has("corp.test/team/other", loginsFor("corp.test/team/app"))).toBe(false);
  });

  it("is a login for an endpoint that is asked in the registry's place", async () => {
    const registries = { "corp.test": { endpoints: ["https://harbor.test/v2/hub"] } };
    const credentials = loginsFor("harbor.test/hub/team/app");
    expect(await has("corp.test/team/app", credentials, registries)).toBe(true);
    expect(await has("corp.test/team/app", credentials)).toBe(false);
  });

  it("is a client certificate", async () => {
    expect(await has("corp.test/app", loginsFor(), { "corp.test": CLIENT })).toBe(true);
    expect(await has("other.test/app", loginsFor(), { "corp.test": CLIENT })).toBe(false);
  });
});

describe("an upstream that asks as nobody", () => {
  const askAs = async (
    repository: Repository,
    settings: RegistrySettings,
    asNobody: boolean,
  ): Promise<string> => {
    await using upstream = createUpstream(
      { ...parts, metrics: noMetrics },
      {
        userAgent: "shoal/test",
        registries: { [repository.registry]: settings },
        credentials: { find: async () => login },
        asNobody,
        retry: { tries: 1, baseMs: 1 },
      },
    );
    return await upstream.manifest(repository, TAG).then(
      () => "given",
      (error: { code: string }) => error.code,
    );
  };

  it("shows no login", async () => {
    const { username, password } = login;
    await using registry = await createScriptedRegistry({
      auth: { kind: "basic", username, password },
    });
    const { repository } = registry.addImage("team/app", "v1", []);
    expect(await askAs(repository, {}, true)).toBe("ERR_UPSTREAM_UNAUTHORIZED");
    expect(registry.requests.some(({ headers }) => headers.authorization)).toBe(false);
    expect(await askAs(repository, {}, false)).toBe("given");
  });

  it("shows no certificate", async () => {
    await using registry = await createScriptedRegistry({
      tls: { key: ours.key, cert: ours.cert, ca: readFileSync(ours.caFile, "utf8") },
    });
    const { repository } = registry.addImage("team/app", "v1", []);
    const settings = { caFile: ours.caFile, ...CLIENT };
    expect(await askAs(repository, settings, true)).not.toBe("given");
    expect(await askAs(repository, settings, false)).toBe("given");
  });
});
