import { open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type ScriptedDaemonInit, startScriptedDaemon } from "@shoal/api/testing";
import { expect, test } from "vitest";
import {
  DIGEST,
  donePull,
  layer,
  MIB,
  pull,
  type RunInit,
  STARTED,
  shoal,
  status,
  temporaryFolder,
} from "./fixtures.ts";

async function scripted(init: Omit<ScriptedDaemonInit, "socketPath"> = {}) {
  const stack = new AsyncDisposableStack();
  const folder = stack.use(await temporaryFolder());
  const socketPath = join(folder.path, "s.sock");
  const daemon = stack.use(await startScriptedDaemon({ socketPath, ...init }));
  return {
    folder: folder.path,
    daemon,
    socketPath,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

const failedWith = (code: string) =>
  pull("failed", { error: { code, message: "it went wrong; do that" } });

test("a pull into a pipe tells each layer's end and the whole, and exits 0", async () => {
  await using site = await scripted({
    pull: [
      pull("resolving"),
      pull("fetching", { layers: [layer("aa"), layer("bb", { state: "fetching" })] }),
      donePull,
    ],
  });
  const { code, out } = await shoal(["pull", "alpine", "--socket", site.socketPath]);
  expect(code).toBe(0);
  expect(out).toBe(
    [
      "done aaaaaaaaaaaa 50.0 MiB, 100 % from peers",
      "done bbbbbbbbbbbb 50.0 MiB, 94 % from peers",
      `✓ pulled docker.io/library/alpine@${DIGEST}  100 MiB: 97 % from peers, 3 % from the registry, in 4.2 s`,
      "",
    ].join("\n"),
  );
  expect(site.daemon.requests[0]).toBe('POST /v1/pulls {"reference":"alpine"}');
});

test("limits are shown, and set by name", async () => {
  const limits = {
    uplinkBytesPerSecond: 2_500_000,
    lanUploadBytesPerSecond: 40_000_000,
    set: { at: "2026-01-02T03:04:05.000Z", by: "12D3KooWSelf" },
  };
  await using site = await scripted({ limits });
  const socket = ["--socket", site.socketPath];
  const { out } = await shoal(["limits", ...socket]);
  expect(out).toMatch(/uplink +20 Mbit\/s/);
  expect(out).toMatch(/connections +none/);
  expect(out).toContain("by 12D3KooWSelf");
  const change = ["uplink=20Mbit", "connections=8", "lan-upload=none"];
  const set = await shoal(["limits", "set", ...change, "--json", ...socket]);
  expect(JSON.parse(set.out)).toEqual(limits);
  expect(site.daemon.requests.at(-1)).toBe(
    'PATCH /v1/limits {"uplinkBytesPerSecond":2500000,"uplinkConnections":8,"lanUploadBytesPerSecond":null}',
  );
});

test.each([
  [["limits", "set"]],
  [["limits", "change"]],
  [["limits", "set", "uplink=fast"]],
  [["limits", "set", "connections=0"]],
  [["limits", "set", "tea=1MB"]],
])("%j is wrong usage", async (words) => {
  await using site = await scripted();
  const { code, err } = await shoal([...words, "--socket", site.socketPath]);
  expect(code).toBe(2);
  expect(err).toContain("ERR_USAGE");
  expect(site.daemon.requests).toEqual([]);
});

test("a pipe is told what was here already", async () => {
  const here = layer("aa", { state: "done", arrivedBytes: 50 * MIB, fromStoreBytes: 50 * MIB });
  await using site = await scripted({ pull: [pull("fetching", { layers: [here] }), donePull] });
  const { out } = await shoal(["pull", "alpine", "--socket", site.socketPath]);
  expect(out).toContain("done aaaaaaaaaaaa 50.0 MiB, was here\n");
});

test("a stale answer is told", async () => {
  await using site = await scripted({ pull: [{ ...donePull, stale: true }] });
  const { out } = await shoal(["pull", "alpine", "--socket", site.socketPath]);
  expect(out).toContain("(stale: the registry could not be asked)");
});

test("--json, --quiet, --detach and --all-platforms", async () => {
  await using site = await scripted({ pull: [donePull] });
  const socket = ["--socket", site.socketPath];
  const json = await shoal(["pull", "alpine", "--json", ...socket]);
  expect(JSON.parse(json.out.trim().split("\n").at(-1)!)).toEqual(donePull);
  expect((await shoal(["pull", "alpine", "-q", ...socket])).out).toBe(`${DIGEST}\n`);
  expect((await shoal(["pull", "alpine", "-d", ...socket])).out).toBe("1\n");
  await shoal(["pull", "alpine", "-d", "--all-platforms", ...socket]);
  expect(site.daemon.requests.at(-1)).toBe(
    'POST /v1/pulls {"reference":"alpine","platform":"all"}',
  );
});

test.each([
  ["ERR_UPSTREAM_NOT_FOUND", 4],
  ["ERR_PLATFORM_NOT_FOUND", 4],
  ["ERR_UPSTREAM_UNAUTHORIZED", 5],
  ["ERR_UPSTREAM_DENIED", 5],
  ["ERR_STORE_FULL", 1],
])("a pull that fails with %s exits %i", async (errorCode, exit) => {
  await using site = await scripted({ pull: [failedWith(errorCode)] });
  const { code, err } = await shoal(["pull", "alpine", "--socket", site.socketPath]);
  expect(code).toBe(exit);
  expect(err).toBe(`error [${errorCode}]: it went wrong; do that\n`);
});

test("with --json a pull that fails tells it on standard error too", async () => {
  await using site = await scripted({ pull: [failedWith("ERR_UPSTREAM_NOT_FOUND")] });
  const ran = await shoal(["pull", "alpine", "--json", "--socket", site.socketPath]);
  const error = { code: "ERR_UPSTREAM_NOT_FOUND", message: "it went wrong; do that" };
  expect(ran.code).toBe(4);
  expect(JSON.parse(ran.err)).toEqual({ error });
  expect(JSON.parse(ran.out)).toMatchObject({ state: "failed", error });
});

test.each(["ERR_REFERENCE_INVALID", "ERR_REQUEST"])(
  "a daemon's refusal of the arguments with %s is wrong usage",
  async (errorCode) => {
    const error = { code: errorCode, message: "no" };
    await using site = await scripted({
      answers: { "POST /v1/pulls": { status: 400, body: { error } } },
    });
    const { code, err } = await shoal(["pull", "A!", "--json", "--socket", site.socketPath]);
    expect(code).toBe(2);
    expect(JSON.parse(err)).toEqual({ error });
  },
);

test("Ctrl-C cancels the pull and exits 130", async () => {
  const arriving = pull("fetching", {
    layers: [
      layer("aa", { state: "done", arrivedBytes: 50 * MIB, fromPeersBytes: 50 * MIB }),
      layer("bb", { state: "fetching" }),
    ],
  });
  await using site = await scripted({ pull: [arriving] });
  const { code, err } = await shoal(["pull", "alpine", "--socket", site.socketPath], {
    interruptWhen: (text) => text.includes("done aaaaaaaaaaaa"),
  });
  expect(code).toBe(130);
  expect(err).toContain("the pull is cancelled");
  expect(site.daemon.requests).toContain("DELETE /v1/pulls/1");
});

test("a pull that somebody else cancels fails", async () => {
  await using site = await scripted({ pull: [pull("cancelled")] });
  const { code, err } = await shoal(["pull", "alpine", "--socket", site.socketPath]);
  expect(code).toBe(1);
  expect(err).toMatch(/^error \[ERR_CANCELLED\]: /);
});

test("an interrupt that the daemon does not hear of is told, and exits 130 all the same", async () => {
  const error = { code: "ERR_INTERNAL", message: "out of order" };
  await using site = await scripted({
    pull: [pull("fetching", { layers: [layer("aa", { state: "done" })] })],
    answers: { "DELETE /v1/pulls/1": { status: 500, body: { error } } },
  });
  const { code, err } = await shoal(["pull", "alpine", "--json", "--socket", site.socketPath], {
    interruptWhen: (text) => text.includes('"state":"done"'),
  });
  expect(code).toBe(130);
  expect(JSON.parse(err).error.code).toBe("ERR_INTERRUPTED");
  expect(err).toContain("may go on; see `shoal pulls`. out of order");
});

test("without a daemon everything exits 3 and says what to do", async () => {
  await using folder = await temporaryFolder();
  const env = { SHOAL_SOCKET: join(folder.path, "none.sock") };
  const { code, err, out } = await shoal(["status"], { env });
  expect(code).toBe(3);
  expect(out).toBe("");
  expect(err).toMatch(/^error \[ERR_DAEMON_UNREACHABLE\]: .*npm start/);
});

test("wrong usage exits 2, as JSON if that is asked for", async () => {
  const unknown = await shoal(["pull", "a", "--nonsense"]);
  expect(unknown.code).toBe(2);
  expect(unknown.err).toMatch(/^error \[ERR_USAGE\]: unknown option '--nonsense'/);
  const json = await shoal(["pull", "--json"]);
  expect(json.code).toBe(2);
  expect(JSON.parse(json.err)).toMatchObject({ error: { code: "ERR_USAGE" } });
});

test("lists, their empty states, and their JSON", async () => {
  await using site = await scripted({ status, peers: { self: "me", peers: [] }, images: [] });
  const socket = ["--socket", site.socketPath];
  const told = async (name: string) => (await shoal([name, ...socket])).out;
  expect(await told("peers")).toBe(
    "no peers yet: run `shoal token` here and `shoal join` on another machine\n",
  );
  expect(await told("images")).toContain("no images yet: run `shoal pull alpine`");
  expect(await told("pulls")).toContain("no pulls yet: run `shoal pull alpine`");
  expect(await told("status")).toContain("75 % from peers");
  expect(JSON.parse((await shoal(["status", "--json", ...socket])).out)).toEqual(status);
});

test("the token stands alone on standard output, and can be piped into join", async () => {
  await using site = await scripted({ status, token: "shoal1-secret" });
  const socket = ["--socket", site.socketPath];
  const { out } = await shoal(["token", ...socket]);
  expect(out).toBe("shoal1-secret\n");
  const joined = await shoal(["join", ...socket], { input: out });
  expect(joined.code).toBe(0);
  expect(site.daemon.requests.at(-1)).toBe('POST /v1/site/join {"token":"shoal1-secret"}');
});

test("join reads standard input, then SHOAL_TOKEN_FILE, then SHOAL_TOKEN, and names the culprit", async () => {
  const error = { code: "ERR_TOKEN_INVALID", message: "not a site token" };
  const refusal = { status: 400, body: { error } };
  await using site = await scripted({ answers: { "POST /v1/site/join": refusal } });
  const file = join(site.folder, "token");
  await writeFile(file, "from-file\n");
  const both = { SHOAL_TOKEN_FILE: file, SHOAL_TOKEN: "from-env" };
  const run = async (init: RunInit) => await shoal(["join", "--socket", site.socketPath], init);
  const piped = await run({ env: both, input: "from-pipe\n" });
  expect(piped.err).toContain("SHOAL_TOKEN_FILE is not used");
  expect(piped.err).toContain("standard input: not a site token");
  expect((await run({ env: both })).err).toBe(
    `error [ERR_TOKEN_INVALID]: ${file}: not a site token\n`,
  );
  expect((await run({ env: { SHOAL_TOKEN: "from-env" } })).err).toContain(
    "SHOAL_TOKEN: not a site",
  );
  expect(site.daemon.requests.map((request) => request.replace(/^.*from-/, ""))).toEqual([
    'pipe"}',
    'file"}',
    'env"}',
  ]);
});

test.each([
  ["joined", undefined, "joined site 11112222: other members show up"],
  ["already-member", undefined, "already in site 11112222: nothing has changed"],
  ["moved", "3333444455556666", "joined site 11112222, and left site 33334444: other members"],
])("join says that it %s", async (outcome, left, text) => {
  const body = { outcome, site: "1111222233334444", ...(left === undefined ? {} : { left }) };
  await using site = await scripted({ answers: { "POST /v1/site/join": { status: 200, body } } });
  const input = "shoal1-secret\n";
  const { out } = await shoal(["join", "--replace", "--socket", site.socketPath], { input });
  expect(out).toContain(text);
  expect(site.daemon.requests.at(-1)).toContain('{"token":"shoal1-secret","replace":true}');
});

test.each([
  ["shoal1-secret"],
  ["--token=shoal1-secret"],
  ["--token", "shoal1-secret"],
  ["-t", "shoal1-secret"],
])("a token on the command line is refused, not sent, and not repeated: %s", async (...given) => {
  await using site = await scripted({ status });
  const { code, err, out } = await shoal(["join", ...given, "--socket", site.socketPath]);
  expect(code).toBe(2);
  expect(err).toContain("shell's history now");
  expect(out + err).not.toContain("shoal1-secret");
  expect(site.daemon.requests).toEqual([]);
});

test("a join token goes the same ways, with a name", async () => {
  const made = { token: "shoaljoin1-secret", uses: 20, expiresAt: "2026-01-02T03:04:05.000Z" };
  const body = { outcome: "joined", site: "11112222", name: "store-7" };
  await using site = await scripted({
    answers: {
      "POST /v1/site/join-tokens": { status: 201, body: made },
      "POST /v1/site/join": { status: 200, body },
    },
  });
  const socket = ["--socket", site.socketPath];
  const { out } = await shoal(["token", "create", "--uses", "20", "--ttl", "2h", ...socket]);
  expect(out).toBe("shoaljoin1-secret\n");
  expect(site.daemon.requests.at(-1)).toBe(
    'POST /v1/site/join-tokens {"uses":20,"ttlSeconds":7200}',
  );
  const joined = await shoal(["join", "--name", "store-7", ...socket], { input: `"${out}"` });
  expect(joined.out).toContain("joined site 11112222 as store-7: other members show up");
  expect(site.daemon.requests.at(-1)).toBe(
    'POST /v1/site/join {"token":"shoaljoin1-secret","name":"store-7"}',
  );
  for (const wrong of [
    ["--uses", "0"],
    ["--ttl", "31d"],
    ["--ttl", "soon"],
  ])
    expect(await shoal(["token", "create", ...wrong, ...socket])).toMatchObject({ code: 2 });
});

test("members are listed by name, and what admits is told", async () => {
  const members = {
    self: "12D3KooWSelf",
    site: "1111222233334444",
    keyed: true,
    members: [
      {
        peer: "12D3KooWSelf",
        name: "first",
        roles: ["member", "issuer"],
        state: "up",
        notAfter: "2026-04-02T03:04:05.000Z",
      },
      { peer: "12D3KooWOld", roles: [], state: "up" },
      { peer: "12D3KooWBad", name: "bad", roles: ["member"], state: "down", revokedAt: STARTED },
    ],
  };
  await using site = await scripted({
    answers: {
      "GET /v1/site/members": { status: 200, body: members },
      "POST /v1/site/revocations": {
        status: 201,
        body: { peer: "12D3KooWOld", revokedAt: STARTED },
      },
      "POST /v1/site/init": {
        status: 201,
        body: { site: "11112222", name: "first", notAfter: STARTED, keyFile: "/var/key" },
      },
      "POST /v1/site/token-end": { status: 201, body: { site: "11112222", endedAt: STARTED } },
    },
  });
  const socket = ["--socket", site.socketPath];
  expect((await shoal(["members", ...socket])).out.split("\n")).toEqual([
    "STATE    NAME   ROLES           UNTIL             PEER",
    "up       first  member, issuer  2026-04-02 03:04  12D3KooWSelf (this machine)",
    "up       -      by the token                      12D3KooWOld",
    "revoked  bad    member                            12D3KooWBad",
    "site 11112222: certificates admit, and still the token; `shoal site end-token` ends that",
    "",
  ]);
  expect((await shoal(["revoke", "12D3KooWOld", ...socket])).out).toBe("revoked 12D3KooWOld\n");
  expect((await shoal(["site", "init", "--name", "first", ...socket])).out).toContain(
    "keep a copy of /var/key in a safe place",
  );
  expect(site.daemon.requests.at(-1)).toBe('POST /v1/site/init {"name":"first"}');
  await shoal(["site", "end-token", "--force", ...socket]);
  expect(site.daemon.requests.at(-1)).toBe('POST /v1/site/token-end {"force":true}');
  expect((await shoal(["site", ...socket])).code).toBe(2);
});

test("cancel tells the daemon; an empty token is wrong usage", async () => {
  await using site = await scripted({ pull: [pull("fetching")] });
  const socket = ["--socket", site.socketPath];
  expect((await shoal(["cancel", "1", ...socket])).out).toBe("cancelled 1\n");
  expect((await shoal(["cancel", "2", ...socket])).code).toBe(1);
  await using long = await scripted({ pull: [pull("fetching", { id: "12345678-9" })] });
  await shoal(["cancel", "1234567", "--socket", long.socketPath]);
  expect(long.daemon.requests.at(-1)).toBe("DELETE /v1/pulls/12345678-9");
  expect((await shoal(["join", ...socket])).code).toBe(2);
});

test("--version", async () => {
  expect(await shoal(["--version"])).toMatchObject({ code: 0, out: "0.1.0\n" });
});

test("output that can't be written is told, and fails", async () => {
  await using site = await scripted({ status });
  const full = await open("/dev/full", "w");
  try {
    const { code, err } = await shoal(["status", "--socket", site.socketPath], { output: full.fd });
    expect(code).toBe(1);
    expect(err).toMatch(/^error \[ERR_OUTPUT\]: .*ENOSPC/);
  } finally {
    await full.close();
  }
});

test("what goes is shown, with why and how much is won", async () => {
  const removal = {
    kind: "image",
    digest: DIGEST,
    names: ["docker.io/library/alpine:3.19"],
    reason: "least-recently-used",
    usedAt: "2026-01-02T03:04:05.000Z",
    sizeBytes: 50 * MIB,
    blobs: 3,
  };
  const body = { dryRun: true, removals: [removal], wonBytes: 50 * MIB, shortBytes: MIB };
  await using site = await scripted({ answers: { "POST /v1/gc": { status: 200, body } } });
  const socket = ["--socket", site.socketPath];
  const { out } = await shoal(["gc", "--dry-run", "--to", "2GB", ...socket]);
  expect(out).toMatch(
    /image +cdcdcdcdcdcd +50\.0 MiB .* used least +docker\.io\/library\/alpine:3\.19/,
  );
  expect(out).toContain("would win 50.0 MiB from 1 item; 1.00 MiB more are pinned or in use");
  expect(site.daemon.requests.at(-1)).toBe('POST /v1/gc {"dryRun":true,"targetBytes":2000000000}');
  const wrong = await shoal(["gc", "--to", "much", ...socket]);
  expect(wrong.code).toBe(2);
});

test("images are pinned and unpinned by name", async () => {
  const pin = {
    name: "docker.io/library/alpine:3",
    digest: DIGEST,
    pinnedAt: "2026-01-02T03:04:05.000Z",
  };
  await using site = await scripted({
    answers: {
      "POST /v1/pins": { status: 201, body: pin },
      "GET /v1/pins": { status: 200, body: { pins: [{ ...pin, sizeBytes: 3 * MIB }] } },
      "POST /v1/pins/remove": { status: 200, body: { pins: [] } },
    },
  });
  const socket = ["--socket", site.socketPath];
  expect((await shoal(["pin", "alpine:3", ...socket])).out).toBe(
    "pinned docker.io/library/alpine:3, cdcdcdcdcdcd\n",
  );
  expect((await shoal(["pins", ...socket])).out).toMatch(/cdcdcdcdcdcd +3\.00 MiB .*alpine:3/);
  const { code, err } = await shoal(["unpin", "alpine:3", ...socket]);
  expect(code).toBe(1);
  expect(err).toContain("ERR_PIN_NOT_FOUND");
});

test("a store is verified to its end, and rot is an exit code", async () => {
  const done = {
    startedAt: "2026-01-02T03:04:05.000Z",
    finishedAt: "2026-01-02T03:05:05.000Z",
    checkedBlobs: 3,
    checkedBytes: 5 * MIB,
    totalBlobs: 3,
    totalBytes: 5 * MIB,
    findings: [{ digest: DIGEST, sizeBytes: MIB, fault: "rotten" }],
  };
  const { finishedAt: _later, ...begun } = { ...done, checkedBlobs: 0, findings: [] };
  await using site = await scripted({
    answers: {
      "POST /v1/store/verify": { status: 202, body: begun },
      "GET /v1/store/verify": { status: 200, body: done },
    },
  });
  const socket = ["--socket", site.socketPath];
  const { code, out } = await shoal(["store", "verify", ...socket]);
  expect(code).toBe(1);
  expect(out).toBe(
    "cdcdcdcdcdcd  1.00 MiB  has other bytes than it had\n3 blobs, 5.00 MiB read: 1 blob put aside, and fetched again where an image tells from where; look at the disk\n",
  );
  const json = await shoal(["store", "verify", "--json", ...socket]);
  expect(JSON.parse(json.out)).toEqual(done);
  expect((await shoal(["store", "mend", ...socket])).code).toBe(2);
  const error = { code: "ERR_STORE_IO", message: "look at the disk" };
  await using broken = await scripted({
    answers: { "POST /v1/store/verify": { status: 202, body: { ...done, findings: [], error } } },
  });
  const failed = await shoal(["store", "verify", "--socket", broken.socketPath]);
  expect(failed.code).toBe(1);
  expect(failed.err).toContain("ERR_STORE_IO");
});
