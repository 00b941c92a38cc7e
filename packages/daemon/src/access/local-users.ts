/** The texts of passwd(5) and group(5). */
export interface UserFiles {
  readonly passwd: string;
  readonly group: string;
}

/** Whether a user is of a group, as their own one or as one of its members. Lines that are not whole count for nothing. Pure. */
export function isMember(user: number, group: string, files: UserFiles): boolean {
  const found = fieldsOf(files.group, 4).find(([name]) => name === group);
  const groupId = idOf(found?.[2]);
  if (found === undefined || groupId === undefined) return false;
  const members = found[3]!.split(",");
  return fieldsOf(files.passwd, 7).some(
    ([name, , id, ownGroup]) =>
      name !== "" && idOf(id) === user && (idOf(ownGroup) === groupId || members.includes(name!)),
  );
}

function fieldsOf(text: string, count: number): string[][] {
  return text
    .split("\n")
    .map((line) => line.split(":"))
    .filter((fields) => fields.length === count);
}

function idOf(text: string | undefined): number | undefined {
  return text !== undefined && /^[0-9]{1,10}$/.test(text) ? Number(text) : undefined;
}
