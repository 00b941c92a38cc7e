import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger } from "@shoal/runtime";
import { describe, expect, it } from "vitest";
import { startApiServer } from "../src/api/server.ts";

describe("a client that keeps its end open", () => {
  it.each(["/v1/nothing", "/v1/events?pull=none"])(
    "after an upgrade to %s was refused does not hold up the stop",
    async (path) => {
      const folder = await mkdtemp(join(tmpdir(), "shoal-api-"));
      const socketPath = join(folder, "shoal.sock");
      const server = await startApiServer({
        socketPath,
        routes: [],
        events: { on: () => ({ [Symbol.dispose]() {} }), pull: () => undefined },
        logger: silentLogger,
      });
      const client = connect({ path: socketPath, allowHalfOpen: true });
      client.write(
        `GET ${path} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n`,
      );
      await once(client, "data");
      const startMs = performance.now();
      await server[Symbol.asyncDispose]();
      expect(performance.now() - startMs).toBeLessThan(3000);
      client.destroy();
      await rm(folder, { recursive: true });
    },
  );
});
