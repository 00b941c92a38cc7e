import { type Clock, CodedError, type InTurn } from "@shoal/runtime";
import type { BlobSet } from "../blob-set.ts";
import type { FileStore } from "../file-store-types.ts";
import type { Pins } from "../pins.ts";
import type { ImageGraph } from "./image-graph.ts";
import { closure } from "./plan.ts";

export interface PinningComponents {
  readonly pins: Pins;
  readonly blobs: Pick<BlobSet, "get">;
  readonly graph: ImageGraph;
  /** Runs work while nothing is being removed. */
  readonly whileIdle: InTurn;
  readonly clock: Clock;
}

/** Pins what is in the store, and tells what each pin keeps. */
export function createPinning(
  components: PinningComponents,
): Pick<FileStore, "pins" | "pin" | "unpin"> {
  const { pins, blobs, graph, whileIdle, clock } = components;
  return {
    async pins() {
      const children = await graph.load();
      return pins.list().map((pin) => {
        const kept = closure([pin.digest], children);
        const sizes = [...kept].map((digest) => blobs.get(digest)?.sizeBytes ?? 0);
        return { ...pin, sizeBytes: sizes.reduce((sum, sizeBytes) => sum + sizeBytes, 0) };
      });
    },
    pin: async (name, digest) =>
      await whileIdle(async () => {
        if (blobs.get(digest) === undefined)
          throw new CodedError(
            "ERR_BLOB_NOT_STORED",
            `${name} is not in the store; pull it first, with \`shoal pull\``,
            { details: { digest } },
          );
        const pin = { name, digest, atMs: clock.wallNow() };
        await pins.add(pin);
        return pin;
      }),
    unpin: async (nameOrDigest) => await pins.remove(nameOrDigest),
  };
}
