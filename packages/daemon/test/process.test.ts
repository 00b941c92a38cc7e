import { spawn, type SpawnOptionsWithoutStdio } from "node:child_process";
import { chmod, mkdtemp, readFile, rm } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createSiteToken } from "@shoal/network";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const NODE = new URL("../../../node_modules/.bin/node", import.meta.url).pathname;
const MAIN = new URL("../src/main.ts", import.meta.url).pathname;

describe("the daemon's process", () => {
  let folder = "";
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "shoal-process-"));
  });
  afterEach(async () => await rm(folder, { recursive: true, force: true }));

  async function launch(
    args: readonly string[],
    untilText?: RegExp,
    options: SpawnOptionsWithoutStdio = {},
  ): Promise<{ code: number | null; out: string; err: string }> {
    const child = spawn(NODE, [MAIN, ...args], {
      env: { ...process.env, HOME: folder },
      ...options,
    });
    let out = "";
    let err = "";
    child.stdout.on("data", (chunk: Buffer) => {
      out += chunk.toString();
      if (untilText?.test(out) !== true) return;
      child.kill("SIGTERM");
      // npm passes on to its child what the terminal has sent to both.
      setTimeout(() => child.kill("SIGTERM"), 5);
    });
    child.stderr.on("data", (chunk: Buffer) => {
      err += chunk.toString();
    });
    const code = await new Promise<number | null>((resolve) => {
      child.once("close", resolve);
    });
    return { code, out, err };
  }

  const local = (): string[] => [
    `--state=${folder}/state`,
    `--socket=${folder}/shoal.sock`,
    "--mirror-listen=127.0.0.1:0",
    "--metrics-listen=127.0.0.1:0",
  ];

  it("says where it listens and what to paste, and stops cleanly when told", async () => {
    const { code, out } = await launch(local(), /insecure = true/);
    expect(code).toBe(0);
    expect(out).toMatch(/mirror {3}http:\/\/127\.0\.0\.1:[0-9]+/);
    expect(out).toContain("registry-mirrors");
    expect(out).toContain('prefix = "docker.io"');
    expect(out).toContain("`npm run -s shoal -- token`");
    expect(out).toContain('capabilities = ["pull", "resolve"]');
  });

  it("starts again on the same folder and socket", async () => {
    expect((await launch(local(), /insecure = true/)).code).toBe(0);
    expect((await launch(local(), /insecure = true/)).code).toBe(0);
  });

  it("says which setting frees it from a taken port, in one line", async () => {
    const holder = createServer();
    await new Promise<void>((resolve) => {
      holder.listen(0, "127.0.0.1", resolve);
    });
    const { port } = holder.address() as AddressInfo;
    try {
      const { code, err } = await launch([...local(), `--mirror-listen=127.0.0.1:${port}`]);
      expect(code).toBe(1);
      expect(err).toMatch(/^error \[ERR_PORT_IN_USE\]: .* mirror\.listen\n$/);
    } finally {
      holder.close();
    }
  });

  it.skipIf(process.getuid?.() !== 0)(
    "leaves another user's living socket alone, where it could remove it",
    async () => {
      const socket = join(folder, "theirs.sock");
      const holder = createServer();
      await new Promise<void>((resolve) => {
        holder.listen(socket, resolve);
      });
      try {
        await chmod(socket, 0o600);
        await chmod(folder, 0o777);
        const { code, err } = await launch([...local(), `--socket=${socket}`], /insecure = true/, {
          uid: 65_534,
          gid: 65_534,
        });
        expect(err).toMatch(/^error \[ERR_SOCKET_IN_USE\]: [^\n]*\n$/);
        expect(code).toBe(1);
      } finally {
        holder.close();
      }
    },
  );

  it("keeps to its site when the environment names another, and says so", async () => {
    const [own, other] = [createSiteToken(), createSiteToken()];
    const withToken = async (token: string) =>
      await launch([...local(), "--swarm-port=0", "--swarm-mdns=false"], /insecure = true/, {
        env: { ...process.env, HOME: folder, SHOAL_TOKEN: token },
      });
    expect((await withToken(own)).err).not.toContain("SHOAL_TOKEN");
    const { code, err } = await withToken(other);
    expect(code).toBe(0);
    expect(err).toContain("SHOAL_TOKEN is of another site");
    expect(err).not.toContain(other);
    expect(await readFile(join(folder, "state", "site-token"), "utf8")).toBe(`${own}\n`);
    const mistyped = await withToken(`${own}x`);
    expect(mistyped.code).toBe(1);
    expect(mistyped.err).toMatch(/^error \[ERR_TOKEN_INVALID\]: SHOAL_TOKEN: .*this has 41;/);
  });

  it("explains itself", async () => {
    const { code, out } = await launch(["--help"]);
    expect(code).toBe(0);
    for (const word of ["--mirror-listen", "--swarm-peers", "SHOAL_STATE", "Examples"])
      expect(out).toContain(word);
    expect((await launch(["--version"])).out).toMatch(/^[0-9]+\.[0-9]+\.[0-9]+/);
  });

  it("ends with 2 for wrong usage, and one line for a failure", async () => {
    const usage = await launch(["--nonsense"]);
    expect(usage.code).toBe(2);
    expect(usage.err).toMatch(/^error \[ERR_USAGE\]: unknown option '--nonsense'.*--help[^\n]*\n$/);
    expect(usage.out).toBe("");
    const { code, err } = await launch([...local(), "--swarm-port=x"]);
    expect(code).toBe(2);
    expect(err).toMatch(/^error \[ERR_CONFIG\]: --swarm-port: .*\n$/);
  });
});
