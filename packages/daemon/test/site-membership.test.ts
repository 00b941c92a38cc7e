import { mkdir, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
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
import { createSiteMembership } from "../src/site-membership.ts";

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
});
