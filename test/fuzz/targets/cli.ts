import { hasCode } from "@shoal/api";
import { parseLimitsChange } from "../../../packages/cli/src/limits-command.ts";
import { type EngineName, ENGINES } from "../../../packages/cli/src/setup/plan.ts";
import { planEngine } from "../../../packages/cli/src/setup/setup.ts";
import { readRecord } from "../../../packages/cli/src/setup/record.ts";
import { plain, printable } from "../../../packages/cli/src/text.ts";
import { tokenIn } from "../../../packages/cli/src/token-text.ts";
import { type FuzzTarget, promise, textTarget } from "../target.ts";

const FILES: Readonly<Record<EngineName, readonly string[]>> = {
  docker: [
    '{\n  "log-driver": "local",\n  "registry-mirrors": ["https://a.example"]\n}\n',
    "{}",
    '{"a":{"b":[1]}}',
  ],
  containerd: [
    'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = ""\n',
    "version = 3\n",
  ],
  podman: [
    '[[registry]]\nprefix = "docker.io"\nlocation = "mirror.lab"\n[[registry.mirror]]\nlocation = "x"\n',
  ],
  crio: ['[[registry]]\nlocation = "quay.io"\nblocked = true\n'],
  buildkit: ['debug = true\n[registry."docker.io"]\n  mirrors = ["x", \'y\']\n  http = true\n'],
  k3s: [
    'mirrors:\n  "*":\n    endpoint:\n      - https://a.example\n  docker.io: {}\nconfigs:\n  x: &a {}\n  y: *a\n',
  ],
};
const DICTIONARY = [
  "[[",
  "]]",
  '"""',
  "'''",
  "[registry.",
  "mirrors",
  " = ",
  "1979-05-27",
  "nan",
  "registry-mirrors",
  "// x\n",
  "&a ",
  "*a",
  "- ",
  "? ",
  "<<: ",
];
const REFUSALS: readonly `ERR_${string}`[] = [
  "ERR_SETUP_FILE",
  "ERR_SETUP_UNSUPPORTED",
  "ERR_SETUP_CONFLICT",
];
const record = {
  version: 1,
  mirror: "127.0.0.1:5055",
  registries: ["docker.io"],
  files: [{ path: "/x", backup: null, written: "a", mark: "b", byHand: "c" }],
  folders: [],
};

export const CLI_TARGETS: readonly FuzzTarget[] = [
  ...ENGINES.map((engine) =>
    textTarget({
      name: `cli/setup-${engine}`,
      examples: FILES[engine],
      dictionary: DICTIONARY,
      mostBytes: 4 * 1024,
      refuses: REFUSALS,
      async parse(text) {
        const files = {
          read: async (path: string) => (/\.(json|toml|yaml|conf)$/.test(path) ? text : undefined),
          list: async () => [],
        };
        const plan = await planEngine(engine, {
          files,
          mirror: "127.0.0.1:5055",
          registries: ["docker.io", "ghcr.io"],
        });
        for (const { after, mark } of plan.files)
          promise(after.includes(mark), "the mirror is in what is written");
      },
    }),
  ),
  textTarget({
    name: "cli/setup-record",
    examples: [JSON.stringify(record)],
    values: [record],
    mostBytes: 64 * 1024,
    refuses: ["ERR_SETUP_FILE"],
    async parse(text) {
      const found = await readRecord({ read: async () => text } as never, "docker");
      for (const { path, mark } of found?.files ?? [])
        promise(typeof path === "string" && typeof mark === "string", "a record names files");
    },
  }),
  textTarget({
    name: "cli/token",
    examples: ["> shoal\n\nshoal1-abcd-efgh\n", '{"token":"shoaljoin1-x"}'],
    dictionary: ["shoal1", "-", " "],
    mostBytes: 4096,
    parse: (text) => tokenIn(text),
  }),
  textTarget({
    name: "cli/limits",
    examples: ["uplink=20Mbit connections=8", "lan-upload=none"],
    dictionary: ["uplink=", "=", "none"],
    mostBytes: 4096,
    isRefusal: (error) => hasCode(error, "ERR_USAGE"),
    parse: (text) => parseLimitsChange(text.split(" ")),
  }),
  textTarget({
    name: "cli/text",
    examples: ["a b", "\u001b[2J\u202e"],
    dictionary: ["\u001b[", "\u2028", "\u00ad"],
    mostBytes: 64 * 1024,
    parse(text) {
      promise(/^[\x20-\x7e]*$/.test(plain(text)), "what is shown is ASCII");
      promise(!/(?!\n)\p{Cc}/u.test(printable(text)), "nothing steers the terminal");
    },
  }),
];
