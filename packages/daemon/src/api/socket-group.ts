import { readFile } from "node:fs/promises";

/** Members of this group may use a daemon that runs as root. */
export const SOCKET_GROUP = "shoal";

/** The id of a group of this machine, by group(5); `undefined` where there is none of that name. */
export async function groupIdOf(
  name: string,
  groupFile = "/etc/group",
): Promise<number | undefined> {
  let text: string;
  try {
    text = await readFile(groupFile, "utf8");
  } catch {
    // A machine without the file has no groups by name.
    return undefined;
  }
  for (const line of text.split("\n")) {
    const [group, , id] = line.split(":");
    if (group === name && /^[0-9]+$/.test(id ?? "")) return Number(id);
  }
  return undefined;
}
