import { chmod, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createApiClient } from "../src/index.ts";
import { peers, pull, scripted, status, temporaryFolder } from "./fixtures.ts";

test("asks each route and gives its answer", async () => {
  const images = [
    {
      name: "docker.io/library/alpine:latest",
      digest: "sha256:00",
      mediaType: "m",
      sizeBytes: 1,
      complete: true,
    },
  ];
  const states = [pull("fetching", 50)];
  const limits = { uplinkBytesPerSecond: 2_500_000 };
  const init = { status, peers, images, limits, pull: states, token: "secret" };
  await using site = await scripted(init);
  const { client } = site;
  expect(await client.status()).toEqual(status);
  expect(await client.peers()).toEqual(peers);
  expect(await client.images()).toEqual(images);
  expect(await client.limits()).toEqual(limits);
  expect(await client.setLimits({ uplinkConnections: null })).toEqual(limits);
  expect(await client.startPull({ reference: "alpine", platform: "linux/arm64" })).toEqual(
    states[0],
  );
  expect(await client.pulls()).toEqual(states);
  expect(await client.pull("1")).toEqual(states[0]);
  expect(await client.token()).toBe("secret");
  expect(await client.join({ token: "other" })).toMatchObject({ outcome: "joined" });
  await client.cancelPull("1");
  expect(site.daemon.requests).toEqual([
    "GET /v1/status",
    "GET /v1/peers",
    "GET /v1/images",
    "GET /v1/limits",
    'PATCH /v1/limits {"uplinkConnections":null}',
    'POST /v1/pulls {"reference":"alpine","platform":"linux/arm64"}',
    "GET /v1/pulls",
    "GET /v1/pulls/1",
    "GET /v1/site/token",
    'POST /v1/site/join {"token":"other"}',
    "DELETE /v1/pulls/1",
  ]);
});

test("a pull's id cannot leave its path", async () => {
  await using site = await scripted();
  await expect(site.client.pull("../status?x")).rejects.toThrow();
  expect(site.daemon.requests).toEqual(["GET /v1/pulls/..%2Fstatus%3Fx"]);
});

test("a newer daemon may say more than this client knows", async () => {
  const body = { ...status, novelty: { of: "tomorrow" } };
  await using site = await scripted({ answers: { "GET /v1/status": { status: 200, body } } });
  expect(await site.client.status()).toEqual(status);
});

test("an error keeps the daemon's code, message and details", async () => {
  const error = {
    code: "ERR_REFERENCE_INVALID",
    message: "UPPER is no reference. Write it in lower case.",
    details: { reference: "UPPER" },
  };
  await using site = await scripted({
    answers: { "POST /v1/pulls": { status: 400, body: { error } } },
  });
  await expect(site.client.startPull({ reference: "UPPER" })).rejects.toMatchObject(error);
});

test.each([
  ["an error that is not the API's", { status: 502, body: "<html>" }],
  ["an answer that is not JSON", { status: 200, body: "<html>" }],
  ["an answer without its fields", { status: 200, body: {} }],
])("%s is ERR_API_PROTOCOL", async (_name, answer) => {
  await using site = await scripted({ answers: { "GET /v1/status": answer } });
  await expect(site.client.status()).rejects.toMatchObject({ code: "ERR_API_PROTOCOL" });
});

test("what speaks no HTTP is ERR_API_PROTOCOL", async () => {
  await using folder = await temporaryFolder();
  const socketPath = join(folder.path, "other.sock");
  const server = createServer((socket) => {
    socket.once("data", () => socket.end("SSH-2.0-OpenSSH\r\n"));
  });
  await new Promise<void>((resolve) => {
    server.listen(socketPath, resolve);
  });
  await using client = createApiClient({ socketPath });
  await expect(client.status()).rejects.toMatchObject({ code: "ERR_API_PROTOCOL" });
  await expect(Array.fromAsync(client.events())).rejects.toMatchObject({
    code: "ERR_API_PROTOCOL",
  });
  server.close();
});

test.each(["missing", "refused"] as const)("a socket that is %s", async (how) => {
  await using folder = await temporaryFolder();
  const socketPath = join(folder.path, "shoal.sock");
  // Connecting to a file that is no socket is refused, as to one that a killed daemon has left.
  if (how === "refused") await writeFile(socketPath, "");
  await using client = createApiClient({ socketPath });
  const failure = {
    code: "ERR_DAEMON_UNREACHABLE",
    message: expect.stringMatching(new RegExp(`${socketPath}.*npm start`)),
    details: { socketPath, reason: how === "missing" ? "ENOENT" : "ECONNREFUSED" },
  };
  await expect(client.status()).rejects.toMatchObject(failure);
  await expect(Array.fromAsync(client.events())).rejects.toMatchObject(failure);
});

test.skipIf(process.getuid?.() === 0)("a socket that may not be opened", async () => {
  await using site = await scripted({ status });
  await chmod(site.daemon.socketPath, 0);
  const failure = { code: "ERR_SOCKET_PERMISSION", message: expect.stringContaining("sudo") };
  await expect(site.client.status()).rejects.toMatchObject(failure);
  await expect(Array.fromAsync(site.client.events())).rejects.toMatchObject(failure);
});

test("a daemon that goes away in the middle is unreachable", async () => {
  await using folder = await temporaryFolder();
  const socketPath = join(folder.path, "shoal.sock");
  const server = createServer((socket) => socket.on("data", () => socket.destroy()));
  await new Promise<void>((resolve) => {
    server.listen(socketPath, resolve);
  });
  await using client = createApiClient({ socketPath });
  const failure = {
    code: "ERR_DAEMON_UNREACHABLE",
    message: expect.stringContaining("closed the connection"),
  };
  await expect(client.status()).rejects.toMatchObject(failure);
  await expect(Array.fromAsync(client.events())).rejects.toMatchObject(failure);
  server.close();
});

test("a signal ends a question with its reason", async () => {
  await using folder = await temporaryFolder();
  const socketPath = join(folder.path, "shoal.sock");
  const server = createServer((socket) => socket.resume());
  await new Promise<void>((resolve) => {
    server.listen(socketPath, resolve);
  });
  await using client = createApiClient({ socketPath });
  const controller = new AbortController();
  const answer = client.status({ signal: controller.signal });
  controller.abort(new Error("changed my mind"));
  await expect(answer).rejects.toThrow("changed my mind");
  await expect(client.status({ signal: controller.signal })).rejects.toThrow("changed my mind");
  server.close();
});
