import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hasCode } from "@shoal/runtime";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { loadConfiguration } from "../src/index.ts";
import { parseFile } from "../src/load-configuration.ts";

describe("configuration", () => {
  let folder = "";
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "shoal-config-"));
  });
  afterEach(async () => await rm(folder, { recursive: true }));
  const environment = (env: Record<string, string> = {}) => ({
    env: { HOME: folder, ...env },
    uid: 1000,
  });

  it("works with nothing", async () => {
    const configuration = await loadConfiguration({ environment: environment() });
    expect(configuration.mirror.listen).toEqual(["127.0.0.1:5055", "[::1]:5055"]);
    expect(configuration.state).toBe(join(folder, ".local/state/shoal"));
  });

  it("takes a section whose lines are all comments for one that is left out", async () => {
    const file = join(folder, "shoal.yaml");
    await writeFile(file, "swarm:\n#  port: 1\nregistries:\nshare:\nlog:\n  level: warn\n");
    const configuration = await loadConfiguration({ environment: environment(), file });
    expect(configuration).toMatchObject({ registries: {}, share: [], log: { level: "warn" } });
    expect(configuration.swarm.port).toBe(5056);
  });

  it("puts flags before variables before the file", async () => {
    const file = join(folder, "shoal.yaml");
    await writeFile(file, "swarm:\n  port: 1\n  mdns: false\n  peers: [a, b]\nstate: /from/file\n");
    const configuration = await loadConfiguration({
      environment: environment({
        SHOAL_SWARM_PORT: "2",
        SHOAL_STATE: "/from/env",
        SHOAL_SWARM_PEERS: "c, d",
      }),
      file,
      flags: { "swarm.port": "3" },
    });
    expect(configuration.swarm).toMatchObject({ port: 3, mdns: false, peers: ["c", "d"] });
    expect(configuration.state).toBe("/from/env");
  });

  it.each([
    ["state: [1]", /^x:1:1: state: /],
    ["swarm:\n  prot: 5", /^x:2:3: there is no setting swarm\.prot; did you mean port\?/],
    [
      "registries:\n  ghcr.io: { plainHttps: true }",
      /registries\.ghcr\.io\.plainHttps; did you mean plainHttp\?/,
    ],
    ["registries:\n  'not a host': {}", /registries/],
    ["mirror:\n  listen: [5055]", /mirror\.listen/],
    ["a: &x [*x, *x]", /x:1:/],
    ["swarm: {port: 70000}", /swarm\.port/],
    ["share:\n  - { registry: ghcr.io, share: maybe }", /share/],
    ["{", /^x:/],
    [
      "share:\n  - { registry: ghcr.io, share: never }\n  - registry: ghcr.io\n    share: maybe",
      /^x:4:5: share\.1\.share/,
    ],
    ["mirror:\n  listen:\n    - 127.0.0.1:5055\n    - nope", /^x:4:7: mirror\.listen\.1/],
    ["state: /x\nstate: /y", /^x:2:1: Map keys must be unique$/],
    ["a: 1\n---\nb: 2", /^x:2:1: /],
    ["state:", /^x:1:1: state/],
  ])("points at the mistake in %j", (text, message) => {
    expect(() => parseFile(text, "x")).toThrow(message);
  });

  it("names the variable or flag that is wrong", async () => {
    const wrong = loadConfiguration({ environment: environment({ SHOAL_SWARM_PORT: "many" }) });
    await expect(wrong).rejects.toThrow(/^SHOAL_SWARM_PORT: /);
    const flag = loadConfiguration({ environment: environment(), flags: { "log.level": "loud" } });
    await expect(flag).rejects.toThrow(/^--log-level: /);
    const missing = loadConfiguration({ environment: environment(), file: join(folder, "none") });
    await expect(missing).rejects.toMatchObject({ code: "ERR_CONFIG" });
  });

  it("throws nothing but coded errors for any file", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json()), (text) => {
        try {
          parseFile(text, "x");
        } catch (error) {
          if (!hasCode(error, "ERR_CONFIG")) throw error;
        }
      }),
    );
  });
});
