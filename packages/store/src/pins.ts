import type { Digest } from "@shoal/oci";
import type { RecordTable } from "./types.ts";

/** An image or a blob that is never removed. */
export interface Pin {
  /** What was asked for: a reference in full, or a digest. */
  readonly name: string;
  /** What that named when it was pinned. */
  readonly digest: Digest;
  /** Wall-clock milliseconds. */
  readonly atMs: number;
}

export interface Pins {
  /** Reads what was pinned before. */
  load(): Promise<void>;
  list(): readonly Pin[];
  /** Resolves when the pin is on the disk. A pin of the same name is replaced. @throws ERR_STORE_FULL, ERR_STORE_IO */
  add(pin: Pin): Promise<void>;
  /** Takes back the pin of a name, or every pin of a digest. @returns what was pinned */
  remove(nameOrDigest: string): Promise<readonly Pin[]>;
}

export function createPins(table: RecordTable<Omit<Pin, "name">>): Pins {
  const pins = new Map<string, Pin>();
  return {
    async load() {
      for await (const [name, pin] of table.entries()) pins.set(name, { name, ...pin });
    },
    list: () => [...pins.values()],
    async add({ name, digest, atMs }) {
      await table.put(name, { digest, atMs }, { durable: true });
      pins.set(name, { name, digest, atMs });
    },
    async remove(nameOrDigest) {
      const found = [...pins.values()].filter(
        ({ name, digest }) => name === nameOrDigest || digest === nameOrDigest,
      );
      for (const { name } of found) {
        await table.delete(name);
        pins.delete(name);
      }
      return found;
    },
  };
}
