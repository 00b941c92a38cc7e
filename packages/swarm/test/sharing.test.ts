import { digestOf } from "@shoal/oci";
import { CodedError } from "@shoal/runtime";
import { createMemoryStore } from "@shoal/store";
import { describe, expect, it } from "vitest";
import { loadSharing } from "../src/sharing.ts";

const [secret, open] = ["secret", "open"].map((text) => digestOf(Buffer.from(text))) as [
  ReturnType<typeof digestOf>,
  ReturnType<typeof digestOf>,
];

describe("what members may have", () => {
  it("is nothing while what was withheld before can't be read", async () => {
    const disk = createMemoryStore();
    await disk.table("withheld").put(secret, true);
    let readable = createMemoryStore();
    let opened: () => void = () => undefined;
    const sharing = await loadSharing(
      {
        isIndexOpen: false,
        table: <Value>(name: string) => ({
          ...readable.table<Value>(name),
          entries: () => readable.table<Value>(name).entries(),
        }),
        on(_type, listener) {
          opened = listener;
          return { [Symbol.dispose]() {} };
        },
      },
      () => true,
    );
    expect(sharing.shares(open)).toBe(false);
    readable = disk;
    opened();
    await expect.poll(() => sharing.shares(open)).toBe(true);
    expect(sharing.shares(secret)).toBe(false);
  });

  it("leaves out what could not be noted, which is noted later", async () => {
    const store = createMemoryStore();
    let failing = true;
    const sharing = await loadSharing(
      {
        ...store,
        table<Value>(name: string) {
          const table = store.table<Value>(name);
          return {
            ...table,
            async put(key: string, value: Value) {
              if (failing) throw new CodedError("ERR_STORE_FULL", "no room");
              await table.put(key, value);
            },
          };
        },
      },
      () => true,
    );
    await expect(sharing.withhold(secret)).rejects.toMatchObject({ code: "ERR_STORE_FULL" });
    expect(sharing.shares(secret)).toBe(false);
    expect(await store.table("withheld").get(secret)).toBeUndefined();
    failing = false;
    await sharing.withhold(secret);
    expect(await store.table("withheld").get(secret)).toBe(true);
  });
});
