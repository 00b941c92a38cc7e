import { chmod, mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import fc from "fast-check";
import { parse, stringify } from "smol-toml";
import { describe, expect, it, test } from "vitest";
import { parse as parseYaml } from "yaml";
import { createMachineFiles } from "../src/setup/machine-files.ts";
import { type EngineName, ENGINES } from "../src/setup/plan.ts";
import { planEngine, type SetupResult, setUp } from "../src/setup/setup.ts";
import { undo } from "../src/setup/undo.ts";
import { shoal, temporaryFolder } from "./fixtures.ts";

const MIRROR = "127.0.0.1:5055";
const DOCKER = "/etc/docker/daemon.json";
const CONTAINERD = "/etc/containerd/config.toml";
const HOSTS = "/etc/containerd/certs.d/_default/hosts.toml";
const DROP_IN = "/etc/containers/registries.conf.d/shoal.conf";
const BUILDKIT = "/etc/buildkit/buildkitd.toml";
const K3S = "/etc/rancher/k3s/registries.yaml";

type Texts = Readonly<Record<string, string>>;

/** A machine's files in a temporary folder. */
async function machine(texts: Texts) {
  const folder = await temporaryFolder();
  const root = folder.path;
  await mkdir(join(root, "etc"));
  for (const [path, text] of Object.entries(texts)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
  }
  const files = createMachineFiles(root);
  return {
    root,
    at: (path: string) => join(root, path),
    read: async (path: string) => await readFile(join(root, path), "utf8"),
    /** Every file and folder, with its bytes and mode. */
    async tree(): Promise<Record<string, string>> {
      const tree: Record<string, string> = {};
      for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
        const path = join(entry.parentPath, entry.name);
        const text = entry.isFile() ? await readFile(path, "base64") : "";
        tree[relative(root, path)] = `${(await stat(path)).mode.toString(8)} ${text}`;
      }
      return tree;
    },
    setUp: async (engine: EngineName, registries = ["docker.io"], mirror = MIRROR) =>
      await setUp(files, { engine, mirror, registries, dryRun: false }),
    undo: async (engine: EngineName): Promise<SetupResult> => await undo(files, engine, false),
    [Symbol.asyncDispose]: folder[Symbol.asyncDispose].bind(folder),
  };
}

const written = (engine: EngineName): string =>
  `# Written by \`shoal setup ${engine}\`; \`shoal setup ${engine} --undo\` takes it away.\n`;
const HOSTS_BLOCK = `[host."http://${MIRROR}"]\n  capabilities = ["pull", "resolve"]\n`;

/** What is there before, and what is to be there after. */
const cases: readonly [string, EngineName, Texts, Texts][] = [
  ["no file", "docker", {}, { [DOCKER]: `{\n  "registry-mirrors": ["http://${MIRROR}"]\n}\n` }],
  [
    "settings of one's own, indented by tabs",
    "docker",
    { [DOCKER]: '{\n\t"log-driver": "json-file",\n\t"log-opts": {"max-size": "10m"}\n}\n' },
    {
      [DOCKER]: `{\n\t"log-driver": "json-file",\n\t"log-opts": {"max-size": "10m"},\n\t"registry-mirrors": ["http://${MIRROR}"]\n}\n`,
    },
  ],
  [
    "another mirror, which stays behind Shoal's",
    "docker",
    {
      [DOCKER]: '{\r\n    "registry-mirrors": ["https://mirror.gcr.io"],\r\n    "ipv6": true\r\n}',
    },
    {
      [DOCKER]: `{\r\n    "registry-mirrors": ["http://${MIRROR}", "https://mirror.gcr.io"],\r\n    "ipv6": true\r\n}`,
    },
  ],
  [
    "no file",
    "containerd",
    {},
    {
      [CONTAINERD]: `${written("containerd")}version = 2\n\n[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/etc/containerd/certs.d"\n`,
      [HOSTS]: written("containerd") + HOSTS_BLOCK,
    },
  ],
  [
    "version 2 as `containerd config default` writes it",
    "containerd",
    {
      [CONTAINERD]:
        'version = 2\nroot = "/var/lib/containerd" # here\n\n[plugins]\n\n  [plugins."io.containerd.grpc.v1.cri"]\n    sandbox_image = "pause:3.9"\n\n    [plugins."io.containerd.grpc.v1.cri".registry]\n      config_path = "" # none\n\n      [plugins."io.containerd.grpc.v1.cri".registry.mirrors]\n',
    },
    {
      [CONTAINERD]:
        'version = 2\nroot = "/var/lib/containerd" # here\n\n[plugins]\n\n  [plugins."io.containerd.grpc.v1.cri"]\n    sandbox_image = "pause:3.9"\n\n    [plugins."io.containerd.grpc.v1.cri".registry]\n      config_path = "/etc/containerd/certs.d" # none\n\n      [plugins."io.containerd.grpc.v1.cri".registry.mirrors]\n',
      [HOSTS]: written("containerd") + HOSTS_BLOCK,
    },
  ],
  [
    "version 3, its table without config_path",
    "containerd",
    {
      [CONTAINERD]:
        "version = 3\n\n[plugins.'io.containerd.cri.v1.images'.registry]\n  # ours\n[metrics]\naddress = ''\n",
    },
    {
      [CONTAINERD]:
        "version = 3\n\n[plugins.'io.containerd.cri.v1.images'.registry]\n  config_path = \"/etc/containerd/certs.d\"\n  # ours\n[metrics]\naddress = ''\n",
      [HOSTS]: written("containerd") + HOSTS_BLOCK,
    },
  ],
  [
    "Docker's own package, with CRI disabled",
    "containerd",
    { [CONTAINERD]: '# comment\ndisabled_plugins = ["cri"]\n' },
    { [HOSTS]: written("containerd") + HOSTS_BLOCK },
  ],
  [
    "a folder of one's own, and hosts for all registries",
    "containerd",
    {
      [CONTAINERD]:
        'version = 2\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/srv/certs.d:/etc/docker/certs.d"\n',
      "/srv/certs.d/_default/hosts.toml":
        '# mirrors\nserver = "https://other"\n\n# the nearest\n[host."https://cache.lan"]\n  ca = "x"\n',
    },
    {
      "/srv/certs.d/_default/hosts.toml": `# mirrors\nserver = "https://other"\n\n${HOSTS_BLOCK}\n# the nearest\n[host."https://cache.lan"]\n  ca = "x"\n`,
    },
  ],
  [
    "Debian's files",
    "podman",
    {
      "/etc/containers/registries.conf":
        '# For more information see containers-registries.conf(5)\nunqualified-search-registries = ["docker.io"]\n',
      "/etc/containers/registries.conf.d/shortnames.conf":
        '[aliases]\n"alpine" = "docker.io/library/alpine"\n',
    },
    {
      [DROP_IN]: `${written("podman")}\n[[registry]]\nprefix = "docker.io"\nlocation = "docker.io"\n\n[[registry.mirror]]\nlocation = "${MIRROR}/docker.io"\ninsecure = true\n`,
    },
  ],
  [
    "an entry of one's own, which is taken along",
    "crio",
    {
      "/etc/containers/registries.conf":
        '[[registry]]\nprefix = "docker.io"\nlocation = "hub.lan:5000/docker"\ninsecure = true\n[[registry.mirror]]\nlocation = "cache.lan"\n',
    },
    {
      [DROP_IN]: `${written("crio")}\n[[registry]]\nprefix = "docker.io"\nlocation = "hub.lan:5000/docker"\ninsecure = true\n\n[[registry.mirror]]\nlocation = "${MIRROR}/hub.lan_5000/docker"\ninsecure = true\n\n[[registry.mirror]]\nlocation = "cache.lan"\n`,
    },
  ],
  [
    "a builder's settings",
    "buildkit",
    {
      [BUILDKIT]:
        '# ours\n[worker.oci]\n  max-parallelism = 4\n\n[registry."docker.io"]\n  mirrors = [ # near ones\n    "cache.lan",\n  ]\n',
    },
    {
      [BUILDKIT]: `# ours\n[worker.oci]\n  max-parallelism = 4\n\n[registry."docker.io"]\n  mirrors = ["${MIRROR}",  # near ones\n    "cache.lan",\n  ]\n\n[registry."${MIRROR}"]\n  http = true\n`,
    },
  ],
  [
    "mirrors and logins",
    "k3s",
    {
      [K3S]:
        '# ours\nmirrors:\n  "*": # all\n    endpoint:\n      - "https://cache.lan"\nconfigs:\n  cache.lan:\n    auth: { username: a, password: b } # secret\n',
    },
    {
      [K3S]: `# ours\nmirrors:\n  "*":\n    # all\n    endpoint:\n      - http://${MIRROR}\n      - "https://cache.lan"\nconfigs:\n  cache.lan:\n    auth: { username: a, password: b } # secret\n`,
    },
  ],
  [
    "a key without a value, as for k3s's own mirror",
    "k3s",
    { [K3S]: 'mirrors:\n  docker.io:\n  "*":\n' },
    { [K3S]: `mirrors:\n  docker.io:\n  "*":\n    endpoint:\n      - http://${MIRROR}\n` },
  ],
];

describe.each(cases)("beside %s, %s", (_what, engine, before, after) => {
  it("is set up once, and undone byte for byte", async () => {
    await using files = await machine(before);
    for (const path of Object.keys(before)) await chmod(files.at(path), 0o640);
    const untouched = await files.tree();
    const first = await files.setUp(engine);
    expect(first.files.map(({ path }) => path).toSorted()).toEqual(Object.keys(after).toSorted());
    for (const [path, text] of Object.entries(after)) {
      expect(await files.read(path)).toBe(text);
      if (before[path] === undefined) continue;
      expect((await stat(files.at(path))).mode & 0o777).toBe(0o640);
      expect(await files.read(`${path}.before-shoal`)).toBe(before[path]);
    }
    const set = await files.tree();
    expect(await files.setUp(engine)).toMatchObject({ state: "unchanged", files: [] });
    expect(await files.tree()).toEqual(set);
    const undone = await files.undo(engine);
    expect(undone).toMatchObject({ state: "undone" });
    expect(undone.apply).toBe(first.apply);
    expect(await files.tree()).toEqual(untouched);
    expect(await files.undo(engine)).toMatchObject({ state: "unchanged" });
  });

  it("is left alone by a dry run", async () => {
    await using files = await machine(before);
    const untouched = await files.tree();
    const { code, out } = await shoal(["setup", engine, "--dry-run", "--root", files.root]);
    expect(code).toBe(0);
    expect(out).toContain("nothing was written");
    for (const path of Object.keys(after)) expect(out).toContain(path);
    expect(await files.tree()).toEqual(untouched);
  });
});

describe("what is refused leaves every file alone", () => {
  const cri = 'version = 2\n[plugins."io.containerd.grpc.v1.cri"';
  const plain = `[plugins."io.containerd.cri.v1.images"]\n`;
  it.each<[string, EngineName, Texts, string, RegExp]>([
    ["broken JSON", "docker", { [DOCKER]: "{ // mine\n}" }, "ERR_SETUP_FILE", /daemon\.json/],
    ["a list", "docker", { [DOCKER]: "[]" }, "ERR_SETUP_FILE", /no JSON object/],
    ["no text", "docker", { [DOCKER]: '{"registry-mirrors": 1}' }, "ERR_SETUP_FILE", /no list/],
    [
      "a key twice",
      "docker",
      { [DOCKER]: '{"registry-mirrors": ["http://a"], "registry-mirrors": ["http://b"]}' },
      "ERR_SETUP_UNSUPPORTED",
      /by hand/,
    ],
    [
      "a flag of the unit",
      "docker",
      {
        "/etc/systemd/system/docker.service.d/10-mirror.conf":
          "[Service]\nExecStart=/usr/bin/dockerd --registry-mirror=https://a\n",
      },
      "ERR_SETUP_CONFLICT",
      /10-mirror\.conf starts Docker with/,
    ],
    [
      "a backup that is not ours",
      "docker",
      { [DOCKER]: "{}", [`${DOCKER}.before-shoal`]: "{ }" },
      "ERR_SETUP_CONFLICT",
      /before-shoal/,
    ],
    ["a folder in its place", "docker", { [`${DOCKER}/x`]: "" }, "ERR_SETUP_ACCESS", /EISDIR/],
    ["broken TOML", "containerd", { [CONTAINERD]: "a = 1\nb\n" }, "ERR_SETUP_FILE", /line [23]/],
    [
      "version 1",
      "containerd",
      { [CONTAINERD]: "root = '/'\n" },
      "ERR_SETUP_UNSUPPORTED",
      /migrate/,
    ],
    [
      "mirrors of the old way",
      "containerd",
      { [CONTAINERD]: `${cri}.registry.mirrors."docker.io"]\nendpoint = ["https://a"]\n` },
      "ERR_SETUP_CONFLICT",
      /docker\.io/,
    ],
    [
      "TLS settings of the old way",
      "containerd",
      { [CONTAINERD]: `${cri}.registry.configs."a.lan".tls]\nca_file = "b"\n` },
      "ERR_SETUP_CONFLICT",
      /tls for a\.lan/,
    ],
    [
      "a table in one line",
      "containerd",
      { [CONTAINERD]: `version = 3\n${plain}registry = { config_path = "" }\n` },
      "ERR_SETUP_UNSUPPORTED",
      /config_path/,
    ],
    ["broken hosts", "containerd", { [HOSTS]: "[host" }, "ERR_SETUP_FILE", /hosts\.toml/],
    [
      "hosts in one line",
      "containerd",
      { [HOSTS]: 'host = { "https://a" = {} }\n' },
      "ERR_SETUP_UNSUPPORTED",
      /by hand/,
    ],
    [
      "a broken drop-in",
      "podman",
      { "/etc/containers/registries.conf.d/a.conf": "[[registry]\n" },
      "ERR_SETUP_FILE",
      /a\.conf/,
    ],
    [
      "an entry that counts more",
      "podman",
      { "/etc/containers/registries.conf.d/z.conf": '[[registry]]\nlocation = "docker.io"\n' },
      "ERR_SETUP_CONFLICT",
      /z\.conf/,
    ],
    ["broken TOML", "buildkit", { [BUILDKIT]: "=" }, "ERR_SETUP_FILE", /line 1/],
    [
      "mirrors that are no list",
      "buildkit",
      { [BUILDKIT]: '[registry."docker.io"]\nmirrors = "a"\n' },
      "ERR_SETUP_FILE",
      /no list/,
    ],
    ["broken YAML", "k3s", { [K3S]: "mirrors: [" }, "ERR_SETUP_FILE", /registries\.yaml/],
    [
      "an alias of nothing",
      "k3s",
      { [K3S]: "mirrors: {}\nconfigs: *a\n" },
      "ERR_SETUP_FILE",
      /alias/,
    ],
    [
      "lists in lists without end",
      "docker",
      { [DOCKER]: `{"a":${"[".repeat(20_000)}${"]".repeat(20_000)}}` },
      "ERR_SETUP_FILE",
      /too deeply/,
    ],
    ["mirrors of a list", "k3s", { [K3S]: "mirrors: [a]\n" }, "ERR_SETUP_FILE", /no map/],
  ])("%s of %s", async (_what, engine, texts, code, message) => {
    await using files = await machine(texts);
    const untouched = await files.tree();
    const ran = await shoal(["setup", engine, "--root", files.root, "--json"]);
    expect(ran.code).toBe(1);
    const { error } = JSON.parse(ran.err) as { error: { code: string; message: string } };
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
    expect(await files.tree()).toEqual(untouched);
  });

  it("bytes that are no text", async () => {
    await using files = await machine({ [DOCKER]: "" });
    await writeFile(files.at(DOCKER), Uint8Array.of(0x7b, 0xff, 0x7d));
    await expect(files.setUp("docker")).rejects.toMatchObject({ code: "ERR_SETUP_FILE" });
  });

  it("a link that leads out of the root", async () => {
    await using outside = await machine({ "/daemon.json": "{}" });
    await using files = await machine({ "/etc/docker/key.json": "" });
    await symlink(outside.at("/daemon.json"), files.at(DOCKER));
    await expect(files.setUp("docker")).rejects.toMatchObject({ code: "ERR_SETUP_UNSUPPORTED" });
  });
});

test("an edit after the set-up is never lost, and undo says what to do", async () => {
  await using files = await machine({ [DOCKER]: '{\n  "ipv6": true\n}\n' });
  await files.setUp("docker");
  const edited = (await files.read(DOCKER)).replace("true", "false");
  await writeFile(files.at(DOCKER), edited);
  const ran = await shoal(["setup", "docker", "--undo", "--root", files.root]);
  expect(ran.code).toBe(1);
  expect(ran.err).toContain("ERR_SETUP_EDITED");
  expect(ran.err).toContain(`take "http://${MIRROR}" out of registry-mirrors`);
  expect(ran.err).toContain(`${DOCKER}.before-shoal`);
  expect(await files.read(DOCKER)).toBe(edited);
  await expect(files.setUp("docker", [], "127.0.0.1:6000")).rejects.toMatchObject({
    code: "ERR_SETUP_EDITED",
  });
  // By hand, as it was told.
  await writeFile(files.at(DOCKER), '{\n  "ipv6": false\n}\n');
  expect(await files.undo("docker")).toMatchObject({ state: "undone" });
  expect(Object.keys(await files.tree())).toEqual(["etc", "etc/docker", "etc/docker/daemon.json"]);
});

test("what can be undone is, beside a file that was edited", async () => {
  await using files = await machine({ [CONTAINERD]: "version = 2\n" });
  await files.setUp("containerd");
  await writeFile(files.at(CONTAINERD), `${await files.read(CONTAINERD)}# mine\n`);
  expect(await files.undo("containerd")).toMatchObject({ state: "partly-undone" });
  expect(await files.read(CONTAINERD)).toContain("# mine");
  await expect(files.read(HOSTS)).rejects.toMatchObject({ code: "ENOENT" });
});

test("after its mirror was taken out by hand, it is set up again", async () => {
  await using files = await machine({ [DOCKER]: "{}" });
  await files.setUp("docker");
  await writeFile(files.at(DOCKER), '{"debug": true}');
  expect(await files.setUp("docker")).toMatchObject({ state: "written" });
  await files.undo("docker");
  expect(await files.read(DOCKER)).toBe('{"debug": true}');
});

test.each(ENGINES)("another address takes the place of the first: %s", async (engine) => {
  await using files = await machine({ [CONTAINERD]: "version = 2\n", [DOCKER]: "{}", [K3S]: "{}" });
  const untouched = await files.tree();
  await files.setUp(engine);
  await files.setUp(engine, ["docker.io"], "127.0.0.1:6000");
  expect(JSON.stringify(Object.values(await files.tree()).map(decoded))).not.toContain(MIRROR);
  expect(await files.setUp(engine, ["docker.io"], "127.0.0.1:6000")).toMatchObject({ files: [] });
  await files.undo(engine);
  expect(await files.tree()).toEqual(untouched);
});

function decoded(line: string): string {
  return Buffer.from(line.split(" ")[1] ?? "", "base64").toString();
}

test("registries are added one after the other, and undone together", async () => {
  await using files = await machine({});
  await files.setUp("podman");
  await files.setUp("podman", ["docker.io", "registry.lan:5000"]);
  const text = await files.read(DROP_IN);
  expect(text).toContain(`location = "${MIRROR}/registry.lan_5000"`);
  expect(text.match(/^prefix/gm)).toHaveLength(2);
  expect(await files.setUp("crio")).toMatchObject({ state: "unchanged" });
  await files.undo("crio");
  expect(Object.keys(await files.tree())).toEqual(["etc"]);
});

test("entries that go past Shoal are told", async () => {
  await using files = await machine({
    "/etc/containerd/certs.d/ghcr.io/hosts.toml": "",
    [K3S]:
      'mirrors:\n  quay.io:\n  "*":\n    rewrite: { "^(.*)$": "proxy/$1" }\nconfigs:\n  registry.lan:\n    auth: { username: a }\n',
    "/etc/containers/registries.conf": '[[registry]]\nlocation = "docker.io/library"\n',
  });
  expect((await files.setUp("containerd")).notes.join()).toContain("ghcr.io");
  const k3s = (await files.setUp("k3s")).notes.join();
  for (const name of ["quay.io", "registry.lan"]) expect(k3s).toContain(`${name}: the engine has`);
  expect(k3s).toContain('"*" has rewrite');
  expect((await files.setUp("podman")).notes.join()).toContain("docker.io/library");
});

describe("of a user", () => {
  const HOME = "/home/me";
  const USER_FILE = `${HOME}/.config/containers/registries.conf`;
  const USER_DROP_IN = `${USER_FILE}.d/shoal.conf`;
  const MACHINE = {
    [DROP_IN]: `[[registry]]\nprefix = "docker.io"\n[[registry.mirror]]\nlocation = "${MIRROR}/docker.io"\ninsecure = true\n`,
  };

  async function user(texts: Texts) {
    const files = await machine({ [`${HOME}/.profile`]: "", ...texts });
    const run = async (...flags: readonly string[]) =>
      await shoal(["setup", "podman", "--user", "--root", files.root, ...flags], {
        env: { HOME: `${HOME}/` },
      });
    return { ...files, run };
  }

  it("Podman is set up in the home folder, and undone byte for byte", async () => {
    await using files = await user({});
    const untouched = await files.tree();
    expect((await files.run("--dry-run")).out).toContain(USER_DROP_IN);
    expect(await files.tree()).toEqual(untouched);
    const { code, out } = await files.run("--registry", "a.lan:5000");
    expect([code, out]).toEqual([0, expect.stringContaining(USER_DROP_IN)]);
    const text = await files.read(USER_DROP_IN);
    expect(text).toContain("`shoal setup podman --user --undo`");
    expect(text).toContain(`location = "${MIRROR}/a.lan_5000"`);
    expect((await files.run("--registry", "a.lan:5000")).out).toContain("nothing to change");
    expect((await files.undo("podman")).notes.join()).toContain("nothing to undo");
    expect((await files.run("--undo")).code).toBe(0);
    expect(await files.tree()).toEqual(untouched);
  });

  it("what the machine's files say is enough, unless there is a file of the user's own", async () => {
    await using files = await user(MACHINE);
    const plan = async () =>
      await planEngine("podman", {
        files: createMachineFiles(files.root),
        mirror: MIRROR,
        registries: ["docker.io"],
        home: HOME,
      });
    expect((await plan()).files).toEqual([]);
    await mkdir(dirname(files.at(USER_FILE)), { recursive: true });
    await writeFile(files.at(USER_FILE), '[[registry]]\nlocation = "docker.io"\ninsecure = true\n');
    const [file] = (await plan()).files;
    expect(file).toMatchObject({ path: USER_DROP_IN, before: undefined });
    // What the file says of the registry is taken along.
    expect(parse(file!.after)["registry"]).toEqual([
      expect.objectContaining({ prefix: "docker.io", location: "docker.io", insecure: true }),
    ]);
  });

  it.each([
    [["docker", "--user"], {}, /only Podman/],
    [["podman", "--user"], { HOME: "here" }, /HOME/],
  ])("%j is wrong usage with %j", async (words, env, told) => {
    const { code, err } = await shoal(["setup", ...words, "--root", "/nowhere"], { env });
    expect(code).toBe(2);
    expect(err).toMatch(told);
  });
});

test("a link stays a link", async () => {
  await using files = await machine({ "/etc/docker/real.json": "{}" });
  await symlink("real.json", files.at(DOCKER));
  await files.setUp("docker");
  expect(await files.read("/etc/docker/real.json")).toContain(MIRROR);
  await files.undo("docker");
  expect(await files.read("/etc/docker/real.json")).toBe("{}");
});

test.each([
  [["tea"]],
  [["docker", "--mirror", "nowhere"]],
  [["docker", "--registry", "quay.io"]],
  [["podman", "--registry", 'a"b']],
])("%j is wrong usage", async (words) => {
  const { code, err } = await shoal(["setup", ...words, "--root", "/nowhere"]);
  expect(code).toBe(2);
  expect(err).toContain("ERR_USAGE");
});

test("--json tells files before and after", async () => {
  await using files = await machine({ [DOCKER]: "{}" });
  const { out } = await shoal(["setup", "docker", "--json", "--root", files.root]);
  expect(JSON.parse(out)).toMatchObject({
    engine: "docker",
    state: "written",
    files: [{ path: DOCKER, before: "{}", backup: `${DOCKER}.before-shoal` }],
    apply: "systemctl reload docker",
  });
});

/** The plan for one file that is there. */
async function planned(engine: EngineName, path: string, text: string): Promise<string> {
  const files = {
    read: async (file: string) => (file === path ? text : undefined),
    list: async () => [],
  };
  const plan = await planEngine(engine, { files, mirror: MIRROR, registries: ["docker.io"] });
  return plan.files.find((file) => file.path === path)!.after;
}

const key = fc.string({ minLength: 1, maxLength: 8 }).filter((name) => name !== "__proto__");
const indent = fc.constantFrom(undefined, 2, 4, "\t");

test("whatever daemon.json says besides is still said", async () => {
  await fc.assert(
    fc.asyncProperty(fc.dictionary(key, fc.jsonValue()), indent, async (settings, space) => {
      const after = await planned("docker", DOCKER, JSON.stringify(settings, undefined, space));
      const mirrors = [`http://${MIRROR}`];
      const plain: unknown = JSON.parse(JSON.stringify(settings));
      expect(JSON.parse(after)).toEqual({ ...(plain as object), "registry-mirrors": mirrors });
      expect(await planned("docker", DOCKER, after)).toBe(after);
    }),
  );
});

test("whatever buildkitd.toml and registries.yaml say besides is still said", async () => {
  const tables = fc.dictionary(key, fc.dictionary(key, fc.oneof(fc.string(), fc.boolean())));
  await fc.assert(
    fc.asyncProperty(tables, async (settings) => {
      fc.pre(!("registry" in settings) && !("mirrors" in settings));
      const toml = await planned("buildkit", BUILDKIT, stringify(settings));
      const { registry, ...others } = parse(toml);
      expect(others).toEqual(parse(stringify(settings)));
      expect(Object.keys(registry as object)).toEqual(["docker.io", MIRROR]);
      const yaml = await planned("k3s", K3S, JSON.stringify(settings));
      const plain: unknown = JSON.parse(JSON.stringify(settings));
      const mirrors = { "*": { endpoint: [`http://${MIRROR}`] } };
      expect(parseYaml(yaml)).toEqual({ ...(plain as object), mirrors });
    }),
  );
});
