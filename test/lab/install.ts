import { run } from "./run.ts";

/** Programs that the lab runs, and the Debian packages that bring them. */
const PACKAGES: Readonly<Record<string, string>> = {
  ip: "iproute2",
  nsenter: "util-linux",
  taskset: "util-linux",
  sysctl: "procps",
  curl: "curl",
  openssl: "openssl",
  "docker-registry": "docker-registry",
  skopeo: "skopeo",
  podman: "podman",
  buildah: "buildah",
  containerd: "containerd",
  runc: "runc",
  dockerd: "docker.io",
  iptables: "iptables",
  tinyproxy: "tinyproxy-bin",
  crun: "crun",
};

/**
 * Sees to it that the lab can run here, installing what is missing on Debian as root, which it tells first.
 * @returns why it can't, or `undefined`. With `CI=true` it throws instead: there, a suite that can't run has failed.
 */
export async function prepareLab(
  programs: readonly string[] = Object.keys(PACKAGES),
  needsRoot = true,
  tell: (text: string) => void = () => undefined,
): Promise<string | undefined> {
  const reason = await prepare(programs, needsRoot, tell);
  if (reason !== undefined && process.env["CI"] === "true")
    throw new Error(`the lab can't run here: ${reason}`);
  return reason;
}

async function prepare(
  programs: readonly string[],
  needsRoot: boolean,
  tell: (text: string) => void,
): Promise<string | undefined> {
  if (process.platform !== "linux") return "it needs Linux";
  const isRoot = process.getuid?.() === 0;
  if (needsRoot && !isRoot) return "it needs root";
  const missing = await missingOf(programs);
  if (missing.length === 0) return undefined;
  if (!isRoot) return `${missing.join(", ")} missing`;
  const packages = [...new Set(missing.map((program) => PACKAGES[program]!))];
  tell(`Installing ${packages.join(", ")} with apt-get …`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  try {
    await run(["apt-get", "update", "-q"], { env });
    await run(["apt-get", "install", "-y", "-q", "--no-install-recommends", ...packages], { env });
  } catch (error) {
    return `${missing.join(", ")} missing, and ${String(error).slice(0, 500)}`;
  }
  const still = await missingOf(programs);
  return still.length === 0
    ? undefined
    : `${still.join(", ")} missing after installing ${packages.join(", ")}`;
}

async function missingOf(programs: readonly string[]): Promise<string[]> {
  const found = await Promise.all(
    programs.map(
      async (program) =>
        await run(["sh", "-c", `command -v ${program}`]).then(
          () => true,
          () => false,
        ),
    ),
  );
  return programs.filter((_, index) => !found[index]);
}
