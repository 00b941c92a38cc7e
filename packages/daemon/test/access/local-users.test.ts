import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isMember } from "../../src/access/local-users.ts";

const PASSWD = `root:x:0:0:root:/root:/bin/sh
anna:x:1000:1000::/home/anna:/bin/sh
ben:x:1001:988::/home/ben:/bin/sh
carl:x:1002:1002::/home/carl:/bin/sh
other:x:1003:988:broken
dora:x:1004:1004::/home/dora:/bin/sh
second:x:1004:1004::/home/dora:/bin/sh
`;
const GROUP = "root:x:0:\nshoals:x:7:carl\nshoal:x:988:anna,second\nbroken\nshoal:x:989:carl\n";

describe("membership in a group", () => {
  it.each([
    [1000, true, "named as a member"],
    [1001, true, "by their own group"],
    [1002, false, "named in another group alone"],
    [1003, false, "a line that is not whole"],
    [1004, true, "by any of their names"],
    [9999, false, "nobody's"],
    [0, false, "root, who is asked for elsewhere"],
  ])("of user %i is %s: %s", (user, is) => {
    expect(isMember(user, "shoal", { passwd: PASSWD, group: GROUP })).toBe(is);
  });

  it("is none where the files say nothing", () => {
    expect(isMember(1000, "shoal", { passwd: "", group: "" })).toBe(false);
    expect(isMember(1000, "shoal", { passwd: PASSWD, group: "shoal:x::anna\n" })).toBe(false);
    expect(isMember(1000, "", { passwd: PASSWD, group: ":x:1000:\n" })).toBe(true);
  });

  it("is never had by a user whom the files do not name", () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (passwd, group) => {
        const is = isMember(1000, "shoal", { passwd, group });
        expect(is && !(passwd.includes("1000") && group.includes("shoal"))).toBe(false);
      }),
    );
  });
});
