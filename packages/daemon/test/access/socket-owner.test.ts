import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import type { AddressInfo } from "node:net";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ownerOf, peerUser } from "../../src/access/socket-owner.ts";

const HEAD =
  "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
const row = (from: string, to: string, state: string, uid: number, inode: number): string =>
  `   4: ${from} ${to} ${state} 00000000:00000000 02:000004F5 00000000 ${String(uid).padStart(5)}        0 ${inode} 2 ffff8881 20 4 30 10 -1\n`;
const CLIENT = { address: "127.0.0.1", port: 0xbeef };
const SERVER = { address: "127.0.0.1", port: 5055 };
const FROM = "0100007F:BEEF";
const TO = "0100007F:13BF";

describe("the owner of a connection, by the kernel's table", () => {
  it.each<[string, string, number | undefined]>([
    ["its client's end", row(FROM, TO, "01", 1000, 77), 1000],
    ["root's", row(FROM, TO, "01", 0, 77), 0],
    ["not the server's end", row(TO, FROM, "01", 0, 77), undefined],
    [
      "not one without an inode, which its process has closed",
      row(FROM, TO, "01", 0, 0),
      undefined,
    ],
    ["not one that is being closed", row(FROM, TO, "05", 0, 77), undefined],
    ["not another port's", row("0100007F:BEEE", TO, "01", 0, 77), undefined],
    ["not of two that differ", row(FROM, TO, "01", 0, 77) + row(FROM, TO, "01", 7, 78), undefined],
    ["not of a line that is cut off", row(FROM, TO, "01", 0, 77).slice(0, 60), undefined],
    ["not of nothing", "", undefined],
  ])("is %s", (_what, rows, user) => {
    expect(ownerOf(HEAD + rows, CLIENT, SERVER, "LE")).toBe(user);
  });

  it("is found in the wide table as well, in either byte order", () => {
    const six = { address: "::1", port: 5055 };
    const little = "00000000000000000000000001000000";
    const big = "00000000000000000000000000000001";
    const wide = (address: string): string => row(`${address}:BEEF`, `${address}:13BF`, "01", 7, 1);
    const from = { address: "::1", port: 0xbeef };
    expect(ownerOf(wide(little), from, six, "LE")).toBe(7);
    expect(ownerOf(wide(big), from, six, "BE")).toBe(7);
    expect(ownerOf(wide(big), from, six, "LE")).toBeUndefined();
    const mapped = "0000000000000000FFFF00000100007F";
    const from4 = { address: "::ffff:127.0.0.1", port: 0xbeef };
    expect(ownerOf(wide(mapped), from4, SERVER, "LE")).toBe(7);
    expect(ownerOf(wide(mapped), CLIENT, SERVER, "LE")).toBe(7);
  });

  it.each(["10.0.0.1", "0.0.0.0", "127.0.0.256", "127.1", "fe80::1", "", "::ffff:10.0.0.1"])(
    "is nobody from %j",
    (address) => {
      const table = HEAD + row(FROM, TO, "01", 0, 77);
      expect(ownerOf(table, { address, port: 0xbeef }, SERVER, "LE")).toBeUndefined();
    },
  );

  it("is never made of a table that does not have it", () => {
    const words = fc.constantFrom(FROM, TO, "01", ":", " ", "\n", "0", "4: ", "00000000", "77");
    const text = fc
      .array(fc.oneof(words, fc.string()), { maxLength: 60 })
      .map((all) => all.join(""));
    fc.assert(
      fc.property(text, (table) => {
        const user = ownerOf(table, CLIENT, SERVER, "LE");
        expect(user === undefined || table.includes(`: ${FROM} ${TO} 01 `)).toBe(true);
      }),
    );
  });
});

describe("the owner of a connection of this machine", () => {
  async function accepted(
    host: string,
    begin: (port: number) => void,
  ): Promise<number | undefined> {
    const server = createServer();
    await new Promise<void>((resolve) => {
      server.listen(0, host, resolve);
    });
    const waiting = once(server, "connection") as Promise<[Socket]>;
    begin((server.address() as AddressInfo).port);
    const [socket] = await waiting;
    try {
      return await peerUser(socket);
    } finally {
      socket.destroy();
      server.close();
    }
  }

  it.each(["127.0.0.1", "127.8.9.10", "::1"])("is told over %s", async (host) => {
    let client: Socket | undefined;
    const user = await accepted(host, (port) => {
      client = connect(port, host);
      client.on("error", () => undefined);
    }).catch((error: NodeJS.ErrnoException) => error.code);
    client?.destroy();
    if (user === "EADDRNOTAVAIL") return;
    expect(user).toBe(process.getuid?.());
  });

  it.skipIf(process.getuid?.() !== 0)("is another user where it is", async () => {
    const user = await accepted("127.0.0.1", (port) => {
      const script = `require("node:net").connect(${port}, "127.0.0.1").on("close", () => process.exit())`;
      spawn(process.execPath, ["-e", script], { uid: 65_534, gid: 65_534, stdio: "ignore" });
    });
    expect(user).toBe(65_534);
  });
});
