import { createSiteToken } from "../src/index.ts";
import { transportConformance } from "../src/testing.ts";
import { createMember, until } from "./support.ts";

transportConformance("libp2p", async () => {
  const token = createSiteToken();
  const a = await createMember({ token });
  const b = await createMember({ token, peers: a.listenAddresses() });
  await until(() => a.members().length === 1 && b.members().length === 1);
  return {
    a,
    b,
    killB: async () => await b[Symbol.asyncDispose](),
    async [Symbol.asyncDispose]() {
      await Promise.all([a[Symbol.asyncDispose](), b[Symbol.asyncDispose]()]);
    },
  };
});
