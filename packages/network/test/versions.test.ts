import { chmod, copyFile, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { noise } from "@chainsafe/libp2p-noise";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import { createLibp2p } from "libp2p";
import { describe, expect, it } from "vitest";
import {
  createEphemeralIdentity,
  createNetwork,
  createSiteToken,
  loadIdentity,
  siteOf,
} from "../src/index.ts";
import { createMember, until } from "./support.ts";

describe("a member of a version that is not known here", () => {
  it("is no member, is told of once with what to do, and keeps no others away", {
    timeout: 30_000,
  }, async () => {
    const token = createSiteToken();
    const { privateKey } = await createEphemeralIdentity();
    const later = await createLibp2p({
      privateKey,
      addresses: { listen: ["/ip4/127.0.0.1/tcp/0"] },
      transports: [tcp()],
      connectionEncrypters: [noise({ prologueBytes: siteOf(token).prologue })],
      streamMuxers: [yamux()],
    });
    await later.handle("/shoal/admit/99", () => undefined);
    const port = Number(later.getMultiaddrs()[0]!.toString().split("/")[4]);
    const warned: unknown[] = [];
    await using other = await createMember({ token });
    await using member = createNetwork(
      {
        identity: await createEphemeralIdentity(),
        clock: systemClock,
        random: Math.random,
        logger: { ...silentLogger, warn: (fields: unknown) => void warned.push(fields) },
        metrics: noMetrics,
      },
      {
        token,
        listen: ["127.0.0.1"],
        port: 0,
        mdns: false,
        peers: [`127.0.0.1:${port}`, ...other.listenAddresses()],
      },
    );
    let calls = 0;
    later.addEventListener("connection:open", () => (calls += 1));
    await member.start();
    await until(() => calls >= 3 && member.members().length === 1, 15_000);
    expect(member.members()).toEqual([other.self]);
    expect(warned).toEqual([
      expect.objectContaining({
        error: expect.objectContaining({
          code: "ERR_PEER_VERSION",
          message: expect.stringContaining("upgrade the older"),
        }),
      }),
    ]);
    await later.stop();
  });
});

describe("an identity", () => {
  it("of version 1 stays the machine's", async () => {
    const directory = await mkdtemp(join(tmpdir(), "shoal-identity-"));
    const machineIdFile = join(directory, "machine-id");
    await writeFile(machineIdFile, "0123456789abcdef0123456789abcdef\n");
    const path = join(directory, "identity.json");
    await copyFile(new URL("fixtures/identity-1.json", import.meta.url), path);
    await chmod(path, 0o600);
    const { peerId } = await loadIdentity({ logger: silentLogger }, { directory, machineIdFile });
    expect(peerId).toBe("12D3KooWEX9iHVpaKSg8BoXnn36Sa2QM8wH1D3mzAxGzhy2oCwMv");
    await rm(directory, { recursive: true });
  });
});
