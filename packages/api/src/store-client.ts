import type { AbortOptions } from "@shoal/runtime";
import type { Exchange } from "./exchange.ts";
import {
  type Collection,
  CollectionSchema,
  type CollectRequest,
  type Pin,
  type PinList,
  PinListSchema,
  PinRemovalSchema,
  type PinRequest,
  PinSchema,
  type Rebuilt,
  RebuiltSchema,
  type Verification,
  VerificationSchema,
} from "./store-schema.ts";

/** What the daemon keeps, and lets go of. */
export interface StoreClient {
  pins(options?: AbortOptions): Promise<PinList["pins"]>;
  /** Keeps an image until it is unpinned. @throws ERR_BLOB_NOT_STORED when it is not in the store */
  pin(request: PinRequest, options?: AbortOptions): Promise<Pin>;
  /** @returns what was pinned by that name, or under that digest */
  unpin(request: PinRequest, options?: AbortOptions): Promise<readonly Pin[]>;
  /** Begins to read all blobs, or joins who does so. */
  startVerification(options?: AbortOptions): Promise<Verification>;
  /** How far the last verification is. @throws ERR_NOT_VERIFIED when there was none */
  verification(options?: AbortOptions): Promise<Verification>;
  /** Makes the index anew from the blobs. */
  rebuild(options?: AbortOptions): Promise<Rebuilt>;
  collect(request: CollectRequest, options?: AbortOptions): Promise<Collection>;
}

export function createStoreClient(exchange: Exchange): StoreClient {
  return {
    async pins(options = {}) {
      const request = { method: "GET", path: "/v1/pins" } as const;
      return (await exchange.ask(request, PinListSchema, options)).pins;
    },
    pin: (body, options = {}) =>
      exchange.ask({ method: "POST", path: "/v1/pins", body }, PinSchema, options),
    async unpin(body, options = {}) {
      const request = { method: "POST", path: "/v1/pins/remove", body } as const;
      return (await exchange.ask(request, PinRemovalSchema, options)).pins;
    },
    startVerification: (options = {}) =>
      exchange.ask({ method: "POST", path: "/v1/store/verify" }, VerificationSchema, options),
    verification: (options = {}) =>
      exchange.ask({ method: "GET", path: "/v1/store/verify" }, VerificationSchema, options),
    rebuild: (options = {}) =>
      exchange.ask({ method: "POST", path: "/v1/store/rebuild" }, RebuiltSchema, options),
    collect: (body, options = {}) =>
      exchange.ask({ method: "POST", path: "/v1/gc", body }, CollectionSchema, options),
  };
}
