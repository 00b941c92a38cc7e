import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { passedSockets } from "../src/activation.ts";

const NODE = new URL("../../../node_modules/.bin/node", import.meta.url).pathname;
const MAIN = new URL("../src/main.ts", import.meta.url).pathname;

interface TcpHandle {
  readonly fd: number;
  bind(address: string, port: number): number;
  getsockname(out: { port?: number }): number;
  close(): void;
}
interface TcpBinding {
  readonly TCP: new (type: number) => TcpHandle;
  readonly constants: { readonly SERVER: number };
}

/** A socket with a port that takes no connections itself, as a service manager's: Node's servers would. */
function boundSocket(): Disposable & { readonly port: number; readonly fd: number } {
  const { TCP, constants } = (process as unknown as { binding(name: string): TcpBinding }).binding(
    "tcp_wrap",
  );
  const handle = new TCP(constants.SERVER);
  expect(handle.bind("127.0.0.1", 0)).toBe(0);
  const name: { port?: number } = {};
  handle.getsockname(name);
  return { port: name.port!, fd: handle.fd, [Symbol.dispose]: () => handle.close() };
}

describe("sockets that are handed over", () => {
  const passed = (env: Record<string, string>) => Object.fromEntries(passedSockets(env, 7));

  it.each([
    [{}, {}],
    [{ LISTEN_FDS: "1" }, {}],
    [{ LISTEN_PID: "8", LISTEN_FDS: "1" }, {}],
    [{ LISTEN_PID: "7", LISTEN_FDS: "0" }, {}],
    [{ LISTEN_PID: "7", LISTEN_FDS: "-1" }, {}],
    [{ LISTEN_PID: "7", LISTEN_FDS: "1e1" }, {}],
    [{ LISTEN_PID: "7", LISTEN_FDS: "2" }, { mirror: [3, 4] }],
    [{ LISTEN_PID: "7", LISTEN_FDS: "2", LISTEN_FDNAMES: "mirror:mirror" }, { mirror: [3, 4] }],
    [
      { LISTEN_PID: "7", LISTEN_FDS: "2", LISTEN_FDNAMES: "api:mirror" },
      { api: [3], mirror: [4] },
    ],
    [
      { LISTEN_PID: "7", LISTEN_FDS: "2", LISTEN_FDNAMES: "mirror" },
      { mirror: [3], unknown: [4] },
    ],
  ])("%j are %j", (env, sockets) => {
    expect(passed(env as Record<string, string>)).toEqual(sockets);
  });

  it("are never one that the process has for something else", () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (count, names) => {
        const all = Object.values(
          passed({ LISTEN_PID: "7", LISTEN_FDS: count, LISTEN_FDNAMES: names }),
        );
        expect(all.flat().every((descriptor) => descriptor > 2 && descriptor < 67)).toBe(true);
      }),
    );
  });

  it("keep the mirror's port while the daemon is restarted", { timeout: 60_000 }, async () => {
    const folder = await mkdtemp(join(tmpdir(), "shoal-activation-"));
    using held = boundSocket();
    const { port } = held;
    const children: ChildProcess[] = [];
    /** As a service manager does: the process is the one that LISTEN_PID names. */
    const begin = async (): Promise<ChildProcess> => {
      const script = 'LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=mirror exec "$0" "$@"';
      const settings = [
        "--metrics-listen=127.0.0.1:0",
        "--mirror-listen=127.0.0.1:1",
        `--state=${folder}/state`,
        `--socket=${folder}/shoal.sock`,
      ];
      const child = spawn("sh", ["-c", script, NODE, MAIN, ...settings], {
        env: { ...process.env, HOME: folder },
        stdio: ["ignore", "pipe", "inherit", held.fd],
      });
      children.push(child);
      let out = "";
      await new Promise<void>((resolve, reject) => {
        child.once("close", () => reject(new Error(`the daemon ended: ${out}`)));
        child.stdout!.on("data", (chunk: Buffer) => {
          out += chunk.toString();
          if (out.includes("insecure = true")) resolve();
        });
      });
      expect(out).toContain(`http://127.0.0.1:${port}`);
      return child;
    };
    const ask = async () =>
      (await fetch(`http://127.0.0.1:${port}/v2/`, { headers: { connection: "close" } })).status;
    try {
      const first = await begin();
      const ended = new Promise((resolve) => {
        first.once("close", resolve);
      });
      first.kill("SIGTERM");
      await ended;
      const taker = createServer();
      const taken = new Promise((resolve) => {
        taker.once("error", ({ code }: NodeJS.ErrnoException) => resolve(code));
        taker.listen(port, "127.0.0.1", () => resolve("listening"));
      });
      expect(await taken).toBe("EADDRINUSE");
      await begin();
      expect([await ask(), await ask()]).toEqual([200, 200]);
    } finally {
      for (const child of children) child.kill("SIGKILL");
      await rm(folder, { recursive: true, force: true, maxRetries: 3 });
    }
  });
});
