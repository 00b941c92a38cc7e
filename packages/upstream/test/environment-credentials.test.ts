import { isRegistryHost, parseReference, parseTag } from "@shoal/oci";
import { noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { hostOfVariable } from "../src/environment-credentials.ts";
import { createEnvironmentCredentials, createUpstream, firstOf } from "../src/index.ts";
import { createScriptedRegistry } from "../src/testing.ts";

/** As the documentation says that it is to be written. */
function variableOf(host: string): string {
  return host.replaceAll("-", "__").replaceAll(".", "_").replaceAll(":", "___").toUpperCase();
}

function credentialsOf(env: Readonly<Record<string, string>>) {
  const warnings: unknown[] = [];
  const credentials = createEnvironmentCredentials(
    {
      logger: {
        ...silentLogger,
        warn: (fields, message) => warnings.push({ ...fields, message }),
      },
    },
    env,
  );
  const find = (reference: string) => credentials.find(parseReference(reference).repository);
  return { credentials, find, warnings };
}

describe("a login from the environment", () => {
  test("is one for the registry that the variable names, a dot as _, a dash as __, a port after ___", async () => {
    const { find, warnings } = credentialsOf({
      SHOAL_REGISTRY_AUTH_GHCR_IO: "me:a:b",
      SHOAL_REGISTRY_AUTH_MY__CORP_EXAMPLE___5000: "token.of-some.length",
      SHOAL_REGISTRY_AUTH_DOCKER_IO: "hub:secret",
      SHOAL_REGISTRY_AUTH_QUAY_IO: "",
      OTHER: "x",
    });
    expect(await find("ghcr.io/a/b")).toEqual({ kind: "basic", username: "me", password: "a:b" });
    expect(await find("my-corp.example:5000/a")).toEqual({
      kind: "identity-token",
      username: "<token>",
      token: "token.of-some.length",
    });
    expect(await find("alpine")).toMatchObject({ username: "hub" });
    for (const other of ["my.corp.example:5000/a", "my-corp.example/a", "quay.io/a"])
      expect(await find(other)).toBeUndefined();
    expect(warnings).toEqual([]);
  });

  test.each([
    ["GHCR__IO_", "me:secret", "names no registry"],
    ["A_____B", "me:secret", "names no registry"],
    ["GHCR_IO", ":secret", "user:password"],
    ["GHCR_IO", "secret\n", "user:password"],
  ])("that is unusable, %s=%j, is warned of without its value", (name, value, message) => {
    const { warnings } = credentialsOf({ [`SHOAL_REGISTRY_AUTH_${name}`]: value });
    expect(warnings).toEqual([
      {
        variable: `SHOAL_REGISTRY_AUTH_${name}`,
        code: "ERR_AUTH_VARIABLE",
        message: expect.stringContaining(message) as string,
      },
    ]);
    expect(JSON.stringify(warnings)).not.toContain("secret");
  });

  test("never goes to another host: each has a variable of its own", () => {
    const label = fc.stringMatching(/^[a-z0-9]([a-z0-9-]{0,6}[a-z0-9])?$/);
    const port = fc.option(fc.integer({ min: 1, max: 65_535 }));
    const host = fc
      .tuple(fc.array(label, { minLength: 1, maxLength: 4 }), port)
      .map(([labels, number]) => `${labels.join(".")}${number === null ? "" : `:${number}`}`)
      .filter((text) => isRegistryHost(text) && !text.includes("docker.io"));
    fc.assert(fc.property(host, (text) => hostOfVariable(variableOf(text)) === text));
    fc.assert(
      fc.property(fc.stringMatching(/^[A-Z0-9_]{1,20}$/), (name) => {
        const found = hostOfVariable(name);
        return found === undefined || found === "docker.io" || variableOf(found) === name;
      }),
    );
  });

  test("comes before the others, and opens a registry", async () => {
    const login = { username: "ci", password: "secret" };
    await using registry = await createScriptedRegistry({ auth: { kind: "bearer", login } });
    const image = registry.addImage("team/app", "v1", []);
    const variable = `SHOAL_REGISTRY_AUTH_${variableOf(registry.registry)}`;
    const { credentials } = credentialsOf({ [variable]: "ci:secret" });
    await using upstream = createUpstream(
      { clock: systemClock, logger: silentLogger, metrics: noMetrics },
      {
        userAgent: "shoal/test",
        registries: { [registry.registry]: {} },
        credentials: firstOf(credentials, {
          find: async () => ({ kind: "basic", username: "file", password: "old" }),
        }),
      },
    );
    const found = await upstream.manifest(image.repository, parseTag("v1"));
    expect(found.digest).toBe(image.digest);
  });
});
