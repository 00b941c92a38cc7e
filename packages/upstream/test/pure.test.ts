import { parseRegistryHost } from "@shoal/oci";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { isPublicAddress } from "../src/address.ts";
import { parseRetryAfter } from "../src/back-off.ts";
import { parseContentRange } from "../src/content-range.ts";
import { nextPage } from "../src/link.ts";
import { checkRealm } from "../src/realm.ts";
import { backOffDelayMs } from "../src/retry.ts";
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

describe("isPublicAddress", () => {
  test.each([
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.251",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fc00::1",
    "fd00:ec2::254",
    "ff02::fb",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
    "192.0.2.1",
    "junk",
    "",
  ])("refuses %s", (address) => {
    expect(isPublicAddress(address)).toBe(false);
  });

  test.each(["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])(
    "allows %s",
    (address) => {
      expect(isPublicAddress(address)).toBe(true);
    },
  );
});

describe("checkRealm", () => {
  test.each([
    ["docker.io", undefined, "https://auth.docker.io/token"],
    ["registry.gitlab.com", undefined, "https://gitlab.com/jwt/auth"],
    ["quay.io", undefined, "https://quay.io/v2/auth"],
    ["quay.io", undefined, "/v2/auth"],
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

describe("parseContentRange", () => {
  test("reads what it writes", () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(), fc.option(fc.nat()), (start, length, rest) => {
        const end = start + length + 1;
        const total = rest === null ? "*" : String(end + rest);
        expect(parseContentRange(`bytes ${start}-${end - 1}/${total}`)).toEqual({
          start,
          end,
          ...(rest === null ? {} : { sizeBytes: end + rest }),
        });
      }),
    );
  });

  test.each([
    undefined,
    "",
    "bytes */100",
    "bytes 5-4/100",
    "bytes 0-100/100",
    "items 0-1/2",
    "bytes 0-1",
  ])("refuses %s", (text) => {
    expect(parseContentRange(text)).toBeUndefined();
  });

  test("never throws", () => {
    fc.assert(fc.property(fc.string(), (text) => void parseContentRange(text)));
  });
});

describe("nextPage", () => {
  test.each([
    ['</v2/a/tags/list?n=2&last=b>; rel="next"', "/v2/a/tags/list?n=2&last=b"],
    ["<https://evil.example/v2/a/tags/list?last=b>; rel=next", "/v2/a/tags/list?last=b"],
    ['<?last=b>; rel="next"', "/v2/a/tags/list?last=b"],
    ['</first>; rel="first", </second>; title="x"; rel="next"', "/second"],
    ['</first>; rel="prev"', undefined],
    [undefined, undefined],
    ["junk", undefined],
  ])("of %s is %s", (header, expected) => {
    expect(nextPage(header, "/v2/a/tags/list?n=2")).toBe(expected);
  });
});

describe("parseRetryAfter", () => {
  const nowMs = Date.parse("2026-01-01T00:00:00Z");
  test.each([
    ["120", 120_000],
    ["0", 0],
    ["Thu, 01 Jan 2026 00:01:00 GMT", 60_000],
    ["Wed, 31 Dec 2025 00:00:00 GMT", 0],
    ["-5", undefined],
    ["soon", undefined],
    [undefined, undefined],
  ])("of %s is %s", (text, expected) => {
    expect(parseRetryAfter(text, nowMs)).toBe(expected);
  });
});

test("backOffDelayMs doubles within bounds", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 30 }),
      fc.double({ min: 0, max: 0.999, noNaN: true }),
      (failures, chance) => {
        const delayMs = backOffDelayMs(200, failures, () => chance);
        const fullMs = Math.min(5000, 200 * 2 ** (failures - 1));
        expect(delayMs).toBeGreaterThanOrEqual(fullMs / 2);
        expect(delayMs).toBeLessThanOrEqual(fullMs);
      },
    ),
  );
});
