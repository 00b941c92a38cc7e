import { expect, test } from "vitest";
import { defaultSocketPath } from "../src/index.ts";

const absent = (): boolean => false;
const made = (path: string): boolean => path === "/run/user/1000";

test.each([
  ["SHOAL_SOCKET before all else", { SHOAL_SOCKET: "/x/y.sock" }, 0, absent, "/x/y.sock"],
  ["an empty SHOAL_SOCKET is none", { SHOAL_SOCKET: "" }, 0, absent, "/run/shoal/shoal.sock"],
  ["root has the system's", { XDG_RUNTIME_DIR: "/r" }, 0, absent, "/run/shoal/shoal.sock"],
  ["a user has the system's where it is", {}, 1000, () => true, "/run/shoal/shoal.sock"],
  ["else their own", { XDG_RUNTIME_DIR: "/r" }, 1000, absent, "/r/shoal/shoal.sock"],
  ["without XDG_RUNTIME_DIR too", {}, 1000, made, "/run/user/1000/shoal/shoal.sock"],
  [
    "without either in their state folder",
    { HOME: "/h" },
    1000,
    absent,
    "/h/.local/state/shoal/shoal.sock",
  ],
  ["wherever that is", { XDG_STATE_HOME: "/s" }, 1000, absent, "/s/shoal/shoal.sock"],
])("%s", (_name, env, uid, exists, path) => {
  expect(defaultSocketPath(env, uid, exists)).toBe(path);
});
