import { parseRegistryHost } from "@shoal/oci";
import { describe, expect, test } from "vitest";
import { checkRealm } from "../src/realm.ts";
import { type RegistrySettings, resolveEndpoint } from "../src/settings.ts";

const at = (host: string, settings?: RegistrySettings) =>
  resolveEndpoint(parseRegistryHost(host), settings);

describe("checkRealm", () => {
  test.each([
    ["docker.io", undefined, "https://auth.docker.io/token"],
    ["registry.gitlab.com", undefined, "https://gitlab.com/jwt/auth"],
    ["quay.io", undefined, "https://quay.io/v2/auth"],
    ["quay.io", undefined, "/v2/auth"],
    ["ghcr.io", undefined, "https://ghcr.io/token"],
    ["gcr.io", undefined, "https://gcr.io/v2/token"],
    ["europe-west1-docker.pkg.dev", undefined, "https://europe-west1-docker.pkg.dev/v2/token"],
    ["team.azurecr.io", undefined, "https://team.azurecr.io/oauth2/token"],
    ["public.ecr.aws", undefined, "https://public.ecr.aws/token/"],
    [
      "registry.cn-hangzhou.aliyuncs.com",
      undefined,
      "https://dockerauth.cn-hangzhou.aliyuncs.com/auth",
    ],
    ["registry.lab:5000", { plainHttp: true }, "http://registry.lab:5001/token"],
    ["lscr.io", { tokenRealms: ["https://ghcr.io"] }, "https://ghcr.io/token"],
    ["10.0.0.1:5000", { plainHttp: true }, "http://10.0.0.1:5001/token"],
  ] as const)("of %s with %o allows %s", (host, settings, realm) => {
    expect(checkRealm(at(host, settings), realm).href).toContain("/");
  });

  test.each([
    ["ghcr.io", undefined, undefined],
    ["ghcr.io", undefined, "http://ghcr.io/token"],
    ["ghcr.io", undefined, "https://evil.example/token"],
    ["ghcr.io", undefined, "https://ghcr.io.evil.example/token"],
    ["ghcr.io", undefined, "https://user:pass@ghcr.io/token"],
    ["ghcr.io", undefined, "file:///etc/passwd"],
    ["one.github.io", undefined, "https://two.github.io/token"],
    ["registry.co.uk", undefined, "https://other.co.uk/token"],
    ["10.0.0.1:5000", { plainHttp: true }, "http://10.0.0.2:5000/token"],
    ["ghcr.io", undefined, "https://169.254.169.254/latest"],
  ] as const)("of %s with %o refuses %s", (host, settings, realm) => {
    expect(() => checkRealm(at(host, settings), realm)).toThrowError(
      expect.objectContaining({ code: "ERR_UPSTREAM_REALM" }) as Error,
    );
  });
});
