import { passedSockets } from "../../../packages/daemon/src/activation.ts";
import { parseCommandLine } from "../../../packages/daemon/src/command-line.ts";
import { parseFile } from "../../../packages/daemon/src/load-configuration.ts";
import { localNames } from "../../../packages/daemon/src/local-only.ts";
import { nextPageLink } from "../../../packages/daemon/src/mirror/next-page.ts";
import { requestUrl } from "../../../packages/daemon/src/request-url.ts";
import { type FuzzTarget, promise, textTarget } from "../target.ts";

const configuration = `zone: rack1
swarm:
  peers: ["10.0.0.7:5056"]
registries:
  "registry.lab:5000": &r
    plainHttp: true
  other.lab: *r
share:
  - registry: ghcr.io
    repository: org/private/*
    share: never
uplink: { limit: 20Mbit }
`;
const isLocal = localNames({ hosts: ["shoal.lab:5055"] });
const silent = (): undefined => undefined;

export const DAEMON_TARGETS: readonly FuzzTarget[] = [
  textTarget({
    name: "daemon/configuration",
    examples: [configuration, "# nothing\n"],
    values: [
      {
        zone: "a",
        mirror: { listen: ["127.0.0.1:5055"] },
        store: { maxBytes: 5 },
        log: { level: "info" },
      },
    ],
    dictionary: [
      "registries:",
      "- ",
      "&a ",
      "*a",
      "<<: ",
      "!!",
      "? ",
      "|\n",
      "---\n",
      "%YAML 1.1\n",
      "swarm: ",
    ],
    mostBytes: 4 * 1024,
    refuses: ["ERR_CONFIG"],
    parse: (text) => parseFile(text, "shoal.yaml"),
  }),
  textTarget({
    name: "daemon/command-line",
    examples: [
      "--state /srv --swarm-peers 10.0.0.7,10.0.0.8",
      "-c x --log-level=debug",
      "--version",
    ],
    dictionary: ["--", "-", "=", "--mirror-listen"],
    mostBytes: 4096,
    isRefusal: (error) => error instanceof Error && error.name === "CommanderError",
    parse: (text) => parseCommandLine(text.split(" "), silent, silent),
  }),
  textTarget({
    name: "daemon/host",
    examples: ["localhost:5055", "127.0.0.1", "[::1]:5055", "shoal.lab:5055"],
    dictionary: ["localhost", ".evil.example", "127.0.0.1", "@", "http://"],
    mostBytes: 64 * 1024,
    parse(text) {
      const socket = { localAddress: "127.0.0.1" } as never;
      if (isLocal({ headers: { host: text }, socket }))
        promise(
          /^(localhost|127(\.\d+){3}|\[?::1\]?|shoal\.lab:5055)(:\d+)?$/i.test(text),
          "no other name is local",
        );
      isLocal({ headers: { host: "localhost", origin: text, "sec-fetch-site": text }, socket });
    },
  }),
  textTarget({
    name: "daemon/request-target",
    examples: ["/v2/a/tags/list?n=5&last=x&ns=ghcr.io", "/v2/%2e%2e/x", "http://x/v2/", "*"],
    dictionary: ["//", "%2e", "%2f", "?ns=", "\\\\", "#", "[::1"],
    mostBytes: 64 * 1024,
    parse(text) {
      const url = requestUrl({ url: text });
      if (url !== undefined) nextPageLink(url, text);
    },
  }),
  textTarget({
    name: "daemon/passed-sockets",
    examples: ["2 mirror:mirror", "1 "],
    dictionary: [":", "99999"],
    mostBytes: 4096,
    parse(text) {
      const [count = "", names = ""] = text.split(" ", 2);
      passedSockets({ LISTEN_PID: "1", LISTEN_FDS: count, LISTEN_FDNAMES: names }, 1);
    },
  }),
];
