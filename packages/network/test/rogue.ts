import { type Card, requestAdmission } from "../src/admission.ts";
import { frameStream } from "../src/frames.ts";
import { createEphemeralIdentity, type Network, type SiteToken, siteOf } from "../src/index.ts";
import { createStranger, multiaddrOf, until } from "./support.ts";

export const LIMITS = { readBytes: 2 ** 21, writeBytes: 2 ** 21 };

/**
 * A member by its token, that keeps no other rule.
 * @param members how many there are then
 * @param roster what it tells of others
 */
export async function createRogue(
  member: Network,
  token: SiteToken,
  members = 1,
  roster: Card["roster"] = [{ peer: "nobody", addresses: ["/ip4/127.0.0.1/tcp/1"] }],
) {
  const identity = await createEphemeralIdentity();
  const { prologue, admissionKey } = siteOf(token);
  const host = await createStranger(prologue, identity);
  const connection = await host.dial(multiaddrOf(member));
  const admission = frameStream(await connection.newStream("/shoal/admit/1"), LIMITS);
  await requestAdmission(admission, {
    key: admissionKey,
    self: identity.peerId,
    remote: member.self,
    card: () => ({
      addresses: ["/ip4/127.0.0.1/tcp/1", "/ip4/8.8.8.8/tcp/53", "nonsense"],
      roster,
    }),
  });
  await until(() => member.members().length === members);
  return {
    host,
    connection,
    peer: identity.peerId,
    async [Symbol.asyncDispose]() {
      await host.stop();
    },
  };
}
