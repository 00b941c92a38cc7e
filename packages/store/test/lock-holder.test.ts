import { expect, it } from "vitest";
import { findLockHolder } from "../src/lock-holder.ts";

const LOCKS = `1: POSIX  ADVISORY  WRITE 4242 08:01:131 0 EOF
2: FLOCK  ADVISORY  WRITE 17 00:1a:132 0 EOF
3: POSIX  ADVISORY  READ  18 00:1b:132 0 EOF
4: OFDLCK ADVISORY  WRITE -1 00:1b:133 0 EOF
1: -> POSIX  ADVISORY  WRITE 4243 08:01:134 0 EOF
`;

it.each([
  [131, 4242],
  // Two files of one inode: it can't be told which.
  [132, undefined],
  // A holder without a process here.
  [133, undefined],
  // Waits for the lock, and does not hold it.
  [134, undefined],
  [13, undefined],
])("finds who locks the file with inode %i", (inode, holder) => {
  expect(findLockHolder(LOCKS, inode)).toBe(holder);
});
