import { parseRegistryHost } from "@shoal/oci";
import { describe, expect, test } from "vitest";
import { endpointUrl, type RegistrySettings, resolveEndpoint } from "../src/settings.ts";

const at = (host: string, settings?: RegistrySettings) =>
  resolveEndpoint(parseRegistryHost(host), settings);

describe("resolveEndpoint", () => {
  test.each([
    ["docker.io", undefined, "https://registry-1.docker.io/v2/"],
    ["ghcr.io", undefined, "https://ghcr.io/v2/"],
    ["localhost:5000", undefined, "http://localhost:5000/v2/"],
    ["127.1.2.3:5000", undefined, "http://127.1.2.3:5000/v2/"],
    ["[::1]:5000", undefined, "http://[::1]:5000/v2/"],
    ["localhost:5000", { plainHttp: false }, "https://localhost:5000/v2/"],
    ["localhost:5000", { caFile: "/ca.pem" }, "https://localhost:5000/v2/"],
    ["localhost:5000", { insecureSkipVerify: true }, "https://localhost:5000/v2/"],
    ["localhost:5000", { caFile: "/ca.pem", plainHttp: true }, "http://localhost:5000/v2/"],
    [
      "127.0.0.1:5000",
      { clientCertFile: "/c.pem", clientKeyFile: "/c.key" },
      "https://127.0.0.1:5000/v2/",
    ],
    ["registry.lab:5000", { plainHttp: true }, "http://registry.lab:5000/v2/"],
    ["registry.lab:80", { plainHttp: true }, "http://registry.lab/v2/"],
    ["docker.io", { endpoint: "http://10.78.0.2:5000" }, "http://10.78.0.2:5000/v2/"],
    ["docker.io", { endpoint: "https://cache.lab/hub/" }, "https://cache.lab/hub/v2/"],
  ] as const)("of %s with %o is %s", (host, settings, url) => {
    expect(endpointUrl(at(host, settings), "/v2/").href).toBe(url);
  });

  test("keeps a path's query", () => {
    expect(endpointUrl(at("ghcr.io"), "/v2/a/tags/list?n=2&last=x%2Fy").href).toBe(
      "https://ghcr.io/v2/a/tags/list?n=2&last=x%2Fy",
    );
  });

  test.each([
    "registry.lab",
    "ftp://registry.lab",
    "http://user:secret@registry.lab",
    "http://x/?y",
  ])("refuses the endpoint %s", (endpoint) => {
    expect(() => at("registry.lab", { endpoint })).toThrowError(
      expect.objectContaining({ code: "ERR_REGISTRY_SETTINGS" }) as Error,
    );
  });
});
