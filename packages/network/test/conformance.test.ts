import { createSiteToken } from "../src/index.ts";
import { type TransportPair, transportConformance } from "../src/testing.ts";
import { createMember, until } from "./support.ts";

async function createPair(bulk: { bulkPort?: number }): Promise<TransportPair> {
  const token = createSiteToken();
  const a = await createMember({ token, ...bulk });
  const b = await createMember({ token, ...bulk, peers: a.listenAddresses() });
  await until(() => a.members().length === 1 && b.members().length === 1);
  return {
    a,
    b,
    killB: async () => await b[Symbol.asyncDispose](),
    async [Symbol.asyncDispose]() {
      await Promise.all([a[Symbol.asyncDispose](), b[Symbol.asyncDispose]()]);
    },
  };
}

transportConformance("libp2p", async () => await createPair({}));
transportConformance("libp2p with bulk over TLS", async () => await createPair({ bulkPort: 0 }));
