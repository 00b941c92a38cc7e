import { setImmediate } from "node:timers/promises";
import { expect, test } from "vitest";
import type { ApiEvent } from "../src/index.ts";
import { pull, scripted } from "./fixtures.ts";

function peerUp(peer: string): ApiEvent {
  return { type: "peer-up", peer };
}

test("follows one pull to its end", async () => {
  const states = [pull("resolving"), pull("fetching", 50), pull("done", 100)];
  await using site = await scripted({ pull: states });
  const seen: ApiEvent[] = [];
  for await (const event of site.client.events({ pull: "1&x" })) {
    seen.push(event);
    if (event.type === "pull" && event.pull.state === "done") break;
  }
  expect(seen).toEqual(states.map((state) => ({ type: "pull", pull: state })));
  expect(site.daemon.requests).toEqual(["GET /v1/events?pull=1%26x upgrade"]);
});

test("a refusal keeps the daemon's code", async () => {
  const error = { code: "ERR_PULL_UNKNOWN", message: "There is no pull 9." };
  await using site = await scripted({
    answers: { "GET /v1/events?pull=9": { status: 404, body: { error } } },
  });
  await expect(Array.fromAsync(site.client.events({ pull: "9" }))).rejects.toMatchObject(error);
});

test("events of types yet to be invented are passed over", async () => {
  await using site = await scripted({ pull: [pull("resolving")] });
  const events = site.client.events()[Symbol.asyncIterator]();
  await events.next();
  site.daemon.broadcast('{"type":"eclipse","of":"the moon"}');
  site.daemon.broadcast(JSON.stringify(peerUp("a")));
  expect((await events.next()).value).toEqual(peerUp("a"));
  await events.return?.();
});

test.each(["no JSON", '{"type":"pull"}', "[]"])("%j is ERR_API_PROTOCOL", async (text) => {
  await using site = await scripted({ pull: [pull("resolving")] });
  const events = site.client.events()[Symbol.asyncIterator]();
  await events.next();
  site.daemon.broadcast(text);
  await expect(events.next()).rejects.toMatchObject({ code: "ERR_API_PROTOCOL" });
});

test("a reader that is slow gets everything, in order", async () => {
  await using site = await scripted({ pull: [pull("resolving")] });
  const events = site.client.events()[Symbol.asyncIterator]();
  await events.next();
  // Over 3 MiB, so that the socket must have been paused and resumed.
  const expected = Array.from({ length: 3000 }, (_, index) => peerUp(`${index}`.padEnd(1024)));
  for (const event of expected) site.daemon.broadcast(JSON.stringify(event));
  const seen: ApiEvent[] = [];
  while (seen.length < expected.length) {
    const next = await events.next();
    if (next.done === true) break;
    seen.push(next.value);
    if (seen.length % 100 === 0) await setImmediate();
  }
  expect(seen).toEqual(expected);
  await events.return?.();
});

test("a daemon that goes away is unreachable, after all that it has said", async () => {
  await using site = await scripted({ pull: [pull("resolving")] });
  const events = site.client.events()[Symbol.asyncIterator]();
  await events.next();
  const next = events.next();
  site.daemon.dropConnections();
  await expect(next).rejects.toMatchObject({ code: "ERR_DAEMON_UNREACHABLE" });
});

test("a signal ends the loop with its reason, before and after it has begun", async () => {
  await using site = await scripted({ pull: [pull("resolving")] });
  const controller = new AbortController();
  const { signal } = controller;
  const events = site.client.events({}, { signal })[Symbol.asyncIterator]();
  await events.next();
  const next = events.next();
  controller.abort(new Error("changed my mind"));
  await expect(next).rejects.toThrow("changed my mind");
  await expect(Array.fromAsync(site.client.events({}, { signal }))).rejects.toThrow(
    "changed my mind",
  );
});
