import type { Status } from "@shoal/api";
import { type Check, failed, ok, skipped, warning } from "./check.ts";

/** The login files and credential helpers, as the daemon's own user has them. */
export function checkLogins(logins: Status["logins"]): readonly Check[] {
  if (logins === undefined)
    return [skipped("credentials", "only a daemon that runs tells which logins it can read")];
  return [checkFiles(logins.files), ...logins.helpers.map((helper) => checkOne(helper))];
}

type Logins = NonNullable<Status["logins"]>;

function checkFiles(files: Logins["files"]): Check {
  const wrong = files.find(({ state }) => state === "unreadable" || state === "broken");
  if (wrong !== undefined)
    return wrong.state === "unreadable"
      ? failed(
          "credentials",
          `the daemon's user can't read ${wrong.path}`,
          "let it: chown and chmod the file and its folder, and see ProtectHome in the daemon's unit",
        )
      : failed(
          "credentials",
          `${wrong.path} is not what Docker or Podman writes`,
          "mend it, or log in anew with `docker login` or `podman login`, as the daemon's user",
        );
  const read = files.filter(({ state }) => state === "read").map(({ path }) => path);
  return ok(
    "credentials",
    read.length === 0
      ? "no login file for the daemon's user: public images only, but for logins of its environment"
      : `the daemon reads ${read.join(", ")}`,
  );
}

function checkOne({ name, allowed, setting, program, failure }: Logins["helpers"][number]): Check {
  const label = `helper ${name.slice(0, 32)}`;
  if (!allowed)
    return warning(
      label,
      "named by a login file, but not allowed to be run",
      setting === undefined
        ? "take it out of the file: no helper can have that name"
        : `add to the daemon's configuration, and restart it: ${setting}`,
    );
  if (program === undefined)
    return failed(
      label,
      `docker-credential-${name} is in no folder of the daemon's PATH`,
      "install it, or set PATH in the daemon's unit: systemctl edit shoal",
    );
  if (failure !== undefined)
    return failed(
      label,
      `when it was last asked, ${failure}`,
      `see why, as the daemon's user: echo HOST | ${program} get`,
    );
  return ok(label, program);
}
