import { parseRegistryHost } from "@shoal/oci";
import { isPublicAddress, literalAddress } from "../../../packages/upstream/src/address.ts";
import { innerMediaType } from "../../../packages/upstream/src/answers.ts";
import { parseAuthFile } from "../../../packages/upstream/src/auth-file.ts";
import { parseRetryAfter } from "../../../packages/upstream/src/back-off.ts";
import { parseChallenges, pullScope } from "../../../packages/upstream/src/challenge.ts";
import { parseContentRange } from "../../../packages/upstream/src/content-range.ts";
import { hostOfVariable } from "../../../packages/upstream/src/environment-credentials.ts";
import { readErrorBody } from "../../../packages/upstream/src/failures.ts";
import { parseHelperAnswer } from "../../../packages/upstream/src/helper-answer.ts";
import { nextPageQuery } from "../../../packages/upstream/src/link.ts";
import { isDirect, parseProxy } from "../../../packages/upstream/src/proxy.ts";
import { readPullLimit } from "../../../packages/upstream/src/pull-limit.ts";
import { checkRealm } from "../../../packages/upstream/src/realm.ts";
import { resolveEndpoint } from "../../../packages/upstream/src/settings.ts";
import { type FuzzTarget, promise, textTarget } from "../target.ts";

/** Headers of an answer are at most so long: undici's default is a quarter of it. */
const HEADER_BYTES = 64 * 1024;
const NOW_MS = Date.parse("2026-01-02T03:04:05Z");
const endpoint = resolveEndpoint(parseRegistryHost("registry.example.com"), undefined);
const ADDRESSES = [
  "127.0.0.1",
  "169.254.169.254",
  "[::ffff:169.254.169.254]",
  "0x7f.1",
  "2130706433",
  "[64:ff9b::7f00:1]",
  "localhost",
  "%5b",
  "@",
  "#",
  "?",
];

const authFile = {
  auths: {
    "https://index.docker.io/v1/": { auth: "bWU6c2VjcmV0" },
    "ghcr.io/org": { identitytoken: "t", username: "u", password: "p" },
  },
  credsStore: "pass",
  credHelpers: { "gcr.io": "gcloud" },
};

export const UPSTREAM_TARGETS: readonly FuzzTarget[] = [
  textTarget({
    name: "upstream/www-authenticate",
    examples: [
      'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull"',
      'Basic realm="x", Bearer realm=https://a.example/token, scope="repository(plugin):a/b:pull,push"',
    ],
    dictionary: ["Bearer ", "realm=", 'scope="', "repository:", ":pull", '\\"', "Negotiate abc=="],
    mostBytes: HEADER_BYTES,
    parse(text) {
      for (const { parameters } of parseChallenges(text)) {
        const scope = pullScope(parameters.get("scope"), "library/alpine");
        promise(
          scope.endsWith(":pull") && !scope.includes(","),
          "no more than to pull is asked for",
        );
      }
    },
  }),
  textTarget({
    name: "upstream/realm",
    examples: [
      "https://auth.example.com/token",
      "/token",
      "https://registry.example.com:8443/t?x=1",
    ],
    dictionary: [...ADDRESSES, "https://", "http://", "//", "example.com", "user:pw@"],
    mostBytes: HEADER_BYTES,
    refuses: ["ERR_UPSTREAM_REALM"],
    parse(text) {
      const { protocol, host } = checkRealm(endpoint, text);
      // A dot at the end makes a name absolute, and no other.
      const hostname = host.replace(/:\d+$/, "").replace(/\.$/, "");
      promise(
        protocol === "https:" && (hostname === "example.com" || hostname.endsWith(".example.com")),
        "logins go to the registry's own domain over TLS",
      );
    },
  }),
  textTarget({
    name: "upstream/address",
    examples: ["https://1.1.1.1/", "https://[2606:4700::1111]/", "https://registry.example.com/"],
    dictionary: [
      ...ADDRESSES,
      "0177.0.0.1",
      "[::ffff:7f00:1]",
      "[fd00:ec2::254]",
      "017700000001",
      "127.1",
      "。",
    ],
    mostBytes: 4096,
    parse(text) {
      const url = URL.parse(text);
      const address = url === null ? undefined : literalAddress(url.hostname);
      if (address !== undefined && isPublicAddress(address))
        promise(
          !/^(0|10|127|169\.254|192\.168)\.|^\[?(::1|fe80|fd|fc)/.test(url!.hostname),
          "no address inside is public",
        );
      isPublicAddress(text);
    },
  }),
  textTarget({
    name: "upstream/link",
    examples: [
      '</v2/a/tags/list?n=5&last=x>; rel="next"',
      "<https://r.example/v2/a/tags/list?last=b>; rel=next; title=x, </x>; rel=prev",
    ],
    dictionary: ["rel=", "next", "<", ">;", "?last="],
    mostBytes: HEADER_BYTES,
    parse: (text) => nextPageQuery(text),
  }),
  textTarget({
    name: "upstream/content-range",
    examples: ["bytes 0-99/2048", "bytes 5-9/*"],
    dictionary: ["bytes ", "999999999999999", "-", "/*"],
    mostBytes: HEADER_BYTES,
    parse(text) {
      const range = parseContentRange(text);
      if (range !== undefined)
        promise(
          range.start < range.end &&
            Number.isSafeInteger(range.end) &&
            range.end <= (range.sizeBytes ?? range.end),
          "a range lies within the whole",
        );
    },
  }),
  textTarget({
    name: "upstream/retry-after",
    examples: ["120", "Fri, 02 Jan 2026 04:04:05 GMT"],
    dictionary: ["GMT", "9999", "Jan"],
    mostBytes: HEADER_BYTES,
    parse(text) {
      const delayMs = parseRetryAfter(text, NOW_MS);
      promise(delayMs === undefined || delayMs >= 0, "a delay is not negative");
    },
  }),
  textTarget({
    name: "upstream/pull-limit",
    examples: ["100;w=21600"],
    dictionary: [";w=", "0"],
    mostBytes: HEADER_BYTES,
    parse: (text) => readPullLimit({ "ratelimit-limit": text, "ratelimit-remaining": text }),
  }),
  textTarget({
    name: "upstream/error-body",
    examples: ['{"errors":[{"code":"DENIED","message":"requested access is denied"}]}'],
    values: [{ errors: [{ code: "DENIED", message: "no\u001b[31m" }] }],
    mostBytes: HEADER_BYTES,
    parse: (text) =>
      promise(!/\p{Cc}/u.test(readErrorBody(text) ?? ""), "no control character is shown"),
  }),
  textTarget({
    name: "upstream/media-type",
    examples: ['{"mediaType":"application/vnd.oci.image.index.v1+json"}'],
    values: [{ mediaType: "a" }],
    mostBytes: 256 * 1024,
    parse: (text) => innerMediaType(Buffer.from(text)),
  }),
  textTarget({
    name: "upstream/auth-file",
    examples: [JSON.stringify(authFile)],
    values: [authFile],
    dictionary: ['"auths":{', '"auth":"', "https://", "/v1/"],
    mostBytes: 64 * 1024,
    refuses: ["ERR_AUTH_FILE"],
    parse(text) {
      for (const { credential } of parseAuthFile(text, "config.json").entries)
        promise(
          credential.kind === "basic" ? credential.username !== "" : credential.token !== "",
          "a login is whole",
        );
    },
  }),
  textTarget({
    name: "upstream/helper-answer",
    examples: [
      '{"ServerURL":"x","Username":"me","Secret":"s"}',
      '{"Username":"<token>","Secret":"s"}',
    ],
    values: [{ Username: "me", Secret: "s" }],
    mostBytes: 64 * 1024,
    parse: (stdout) => [
      parseHelperAnswer({ exitCode: 0, stdout }),
      parseHelperAnswer({ exitCode: 1, stdout }),
    ],
  }),
  textTarget({
    name: "upstream/login-variable",
    examples: ["ghcr_io", "registry__1_lab___5000"],
    dictionary: ["_", "__", "___"],
    mostBytes: 4096,
    parse: (text) => hostOfVariable(text),
  }),
  textTarget({
    name: "upstream/proxy",
    examples: ["http://10.0.0.1:3128", "user:p%40w@proxy:8080", "https://[::1]:1"],
    dictionary: ["http://", "%", "@", "socks5://"],
    mostBytes: 4096,
    refuses: ["ERR_REGISTRY_SETTINGS"],
    parse: (text) =>
      promise(!parseProxy(text, "proxy").url.href.includes("@"), "a proxy's login is kept apart"),
  }),
  textTarget({
    name: "upstream/no-proxy",
    examples: ["localhost,.example.com,10.0.0.0/8,*.lab:5000", "*", "fd00::/8,[::1]:443"],
    dictionary: ["10.0.0.0/33", "::/0", ":99999", "*.", "registry.example.com"],
    mostBytes: 4096,
    parse: (text) => [
      isDirect(new URL("https://registry.example.com"), text),
      isDirect(new URL("http://[fd00::1]:5000"), text),
      isDirect(new URL("http://10.1.2.3"), text),
    ],
  }),
];
