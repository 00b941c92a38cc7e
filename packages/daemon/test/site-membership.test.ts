import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  createEphemeralIdentity,
  createSiteToken,
  type Network,
  siteOf,
  type SiteToken,
} from "@shoal/network";
import { CodedError, silentLogger } from "@shoal/runtime";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createMembershipFile } from "../src/site/membership-file.ts";
import { createSiteMembership, initialToken } from "../src/site-membership.ts";

type Fake = Pick<Network, "self" | "members" | "join" | "redeem" | "enter" | "credentials">;
const { peerId: self } = await createEphemeralIdentity();

function createFakeNetwork(change: Partial<Fake> = {}): Fake {
  const unreachable = async (): Promise<never> => expect.unreachable();
  return {
    self,
    members: () => [],
    credentials: () => undefined,
    join: unreachable,
    redeem: unreachable,
    enter: unreachable,
    ...change,
  };
}

describe("site membership", () => {
  let folder = "";
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), "shoal-site-"));
  });
  afterEach(async () => await rm(folder, { recursive: true, force: true }));

  it("keeps the token of the site that it is in when another can't be joined", async () => {
    const file = join(folder, "site-token");
    let joined: SiteToken | undefined;
    let failure: CodedError | undefined;
    const network = createFakeNetwork({
      credentials: () =>
        joined === undefined
          ? undefined
          : ({ site: siteOf(joined) } as unknown as ReturnType<Fake["credentials"]>),
      async join(token: SiteToken) {
        if (failure !== undefined) throw failure;
        joined = token;
      },
    });
    const membershipFile = createMembershipFile(join(folder, "membership.json"));
    const site = createSiteMembership(
      { network, membershipFile, logger: silentLogger },
      { tokenFile: file },
    );
    const token = await site.token();
    expect(joined).toBe(token);
    failure = new CodedError("ERR_PORT_IN_USE", "it is in use");
    const left = site.id();
    const elsewhere = { token: createSiteToken(), replace: true };
    await expect(site.join(elsewhere)).rejects.toBe(failure);
    expect(site.id()).toBe(left);
    expect(await readFile(file, "utf8")).toBe(`${token}\n`);
    expect(await readdir(folder)).toEqual(["site-token"]);
    failure = undefined;
    const other = createSiteToken();
    await site.join({ token: other, replace: true });
    expect(await readFile(file, "utf8")).toBe(`${other}\n`);
  });

  it("stays where it is when the token can't be kept", async () => {
    const file = join(folder, "site-token");
    await mkdir(`${file}.tmp`);
    const site = createSiteMembership(
      {
        network: createFakeNetwork(),
        membershipFile: createMembershipFile(join(folder, "membership.json")),
        logger: silentLogger,
      },
      { tokenFile: file },
    );
    await expect(site.join({ token: createSiteToken() })).rejects.toMatchObject({
      code: "ERR_TOKEN_FILE",
    });
  });

  it("forgets the certificate of the site that it leaves when the other's token is in its place", async () => {
    const file = join(folder, "site-token");
    let kept = "";
    const site = createSiteMembership(
      {
        network: createFakeNetwork({ join: async () => undefined }),
        membershipFile: {
          async remove() {
            kept = await readFile(file, "utf8");
          },
        },
        logger: silentLogger,
      },
      { tokenFile: file },
    );
    const token = createSiteToken();
    await site.join({ token });
    expect(kept).toBe(`${token}\n`);
  });

  it("shows no token of another site than the one of its certificate", async () => {
    const file = join(folder, "site-token");
    const [own, other] = [createSiteToken(), createSiteToken()];
    const network = createFakeNetwork({
      credentials: () =>
        ({ site: siteOf(own), publicKey: new Uint8Array(32) }) as unknown as ReturnType<
          Fake["credentials"]
        >,
    });
    const membershipFile = createMembershipFile(join(folder, "membership.json"));
    const site = createSiteMembership(
      { network, membershipFile, logger: silentLogger },
      { tokenFile: file },
    );
    await writeFile(file, other, { mode: 0o600 });
    await expect(site.token()).rejects.toMatchObject({ code: "ERR_SITE_NO_TOKEN" });
    await writeFile(file, own);
    expect(await site.token()).toBe(own);
  });
});

describe("the token to start with", () => {
  it.each([
    [0o600, 0],
    [0o640, 0],
    [0o644, 1],
  ])("in a file of mode %o is told of so often: %i", async (mode, times) => {
    const folder = await mkdtemp(join(tmpdir(), "shoal-token-"));
    const file = join(folder, "site-token");
    const token = createSiteToken();
    await writeFile(file, token);
    await chmod(file, mode);
    const warned: unknown[] = [];
    const logger = { ...silentLogger, warn: (fields: unknown) => void warned.push(fields) };
    expect(await initialToken({ logger }, file, {})).toBe(token);
    expect(warned).toEqual(Array.from({ length: times }, () => ({ tokenFile: file })));
    await rm(folder, { recursive: true });
  });
});
