import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { createSecrets, createScriptedRegistry, findSecrets } from "../src/testing.ts";

const PASSWORD = 'pass "word"/%';
const secrets = createSecrets();
secrets.addLogin("me", PASSWORD);
const login = Buffer.from(`me:${PASSWORD}`).toString("base64");

it.each([
  ["as it is", `the password is ${PASSWORD}.`],
  ["as JSON", JSON.stringify({ error: `no ${PASSWORD}` })],
  ["in a URL", `https://me:${encodeURIComponent(PASSWORD)}@registry.lan`],
  ["in base64", `[${login}]`],
  ["alone in base64", Buffer.from(PASSWORD).toString("base64")],
])("a secret is found %s", async (_how, text) => {
  expect(await findSecrets(secrets.known, { texts: { log: text } })).not.toEqual([]);
});

it.each([
  "sent Authorization: Basic c29tZTpvbmU=",
  '{"headers":{"authorization":"x"}}',
  JSON.stringify({ text: JSON.stringify({ "Proxy-Authorization": "x" }) }),
  "Bearer eyJhbGciOiJFUzI1NiJ9.e30.c2ln",
])("a header that nobody knows is found in %j", async (text) => {
  expect(await findSecrets([], { texts: { log: text } })).not.toEqual([]);
});

it.each([
  'the challenge is Bearer realm="https://auth.lan/token",service="lan"',
  "authorization is wanted; basic settings are in the file",
  "bearer of bad news: nothing",
])("nothing is found in %j", async (text) => {
  expect(await findSecrets(secrets.known, { texts: { log: text } })).toEqual([]);
});

it("every file of a folder is read, but where a secret is at home, and is told without it", async () => {
  const folder = await mkdtemp(join(tmpdir(), "shoal-secrets-"));
  await mkdir(join(folder, "a/b"), { recursive: true });
  await writeFile(join(folder, "a/b/x"), Buffer.concat([Buffer.alloc(100), Buffer.from(PASSWORD)]));
  await writeFile(join(folder, "home"), PASSWORD);
  await writeFile(join(folder, "a/audit.jsonl.1"), '{"what":"Bearer eyJhbGciOiJFUzI1NiJ9"}\n');
  const found = await findSecrets(secrets.known, { folder, homes: ["home"] });
  expect(found.toSorted()).toEqual([
    "a/audit.jsonl.1: a credential after its scheme",
    "a/b/x: secret 0, pas…",
  ]);
  expect(await findSecrets(secrets.known, { folder: join(folder, "none") })).toEqual([]);
  await rm(folder, { recursive: true });
});

it("a secret that would be found by chance is refused", () => {
  expect(() => createSecrets().add("short")).toThrow(/chance/);
});

it("a scripted registry knows what it takes for a login, and every token that it gave", async () => {
  const auth = { kind: "basic", username: "me", password: PASSWORD } as const;
  await using basic = await createScriptedRegistry({ auth });
  expect(basic.secrets()).toEqual(expect.arrayContaining([PASSWORD, login]));
  await using bearer = await createScriptedRegistry({ auth: { kind: "bearer" } });
  const answer = await fetch(`${bearer.origin}/token?scope=repository:app:pull`);
  const { token } = (await answer.json()) as { token: string };
  bearer.expireTokens();
  expect(bearer.secrets()).toContain(token);
});
