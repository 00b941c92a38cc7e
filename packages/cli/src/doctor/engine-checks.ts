import { hasCode, type Status } from "@shoal/api";
import { formatAge } from "../format.ts";
import { type EngineName, type EnginePlan, ENGINES, type FileReader } from "../setup/plan.ts";
import { planEngine } from "../setup/setup.ts";
import { type Check, failed, ok, skipped, warning } from "./check.ts";

const PROGRAMS: Readonly<Record<EngineName, readonly string[]>> = {
  docker: ["dockerd"],
  containerd: ["containerd"],
  podman: ["podman", "skopeo", "buildah"],
  crio: ["crio"],
  buildkit: ["buildkitd"],
  k3s: ["k3s"],
};
/** By which names an engine may have asked. Docker builds by a BuildKit inside of it, k3s pulls by a containerd. */
const CLIENTS: Readonly<Record<EngineName, readonly string[]>> = {
  docker: ["docker", "buildkit", "containerd-library"],
  containerd: ["containerd", "containerd-library"],
  podman: ["podman"],
  crio: ["crio"],
  buildkit: ["buildkit", "containerd-library"],
  k3s: ["containerd"],
};
const PROGRAM_FOLDERS = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];

export interface EngineChecksInit {
  readonly files: FileReader;
  /** `host:port` by which engines may reach the mirror. */
  readonly mirrors: readonly string[];
  readonly status: Pick<Status, "clients" | "startedAt"> | undefined;
  readonly nowMs: number;
  /** Home folder of the user who asks. */
  readonly home?: string | undefined;
}

/** Whether the files of each engine that is installed name the mirror, and it has asked there. */
export async function checkEngines(init: EngineChecksInit): Promise<readonly Check[]> {
  const programs = new Set(
    (
      await Promise.all(PROGRAM_FOLDERS.map(async (folder) => await init.files.list(folder)))
    ).flat(),
  );
  const installed = ENGINES.filter((engine) => PROGRAMS[engine].some((one) => programs.has(one)));
  if (installed.length === 0)
    return [skipped("engines", "no container engine that `shoal setup` knows is installed here")];
  const outcomes = await Promise.all(
    installed.map(async (engine) => ({ engine, outcome: await lookAt(engine, init) })),
  );
  const isAnySetUp = outcomes.some(({ outcome }) => outcome.isSetUp);
  return outcomes.map(({ engine, outcome }) => {
    if (outcome.isSetUp) return seen(engine, outcome.plan, init);
    // One engine may be meant to pull by itself, but not all of them.
    const told = isAnySetUp ? warning : failed;
    return told(engine, outcome.found, outcome.remedy);
  });
}

type Outcome =
  | { readonly isSetUp: true; readonly plan: EnginePlan }
  | { readonly isSetUp: false; readonly found: string; readonly remedy: string };

async function lookAt(engine: EngineName, init: EngineChecksInit): Promise<Outcome> {
  try {
    const machine = await setUpPlan(engine, init);
    // What a user has in the home folder counts for that user.
    const own = engine === "podman" ? await setUpPlan(engine, init, init.home) : machine;
    if (own !== undefined) return { isSetUp: true, plan: own };
    if (machine === undefined)
      return {
        isSetUp: false,
        found: "its files don't name the mirror",
        remedy: `sudo shoal setup ${engine}`,
      };
    return {
      isSetUp: false,
      found: `set up for the machine, but settings of your own in ${init.home}/.config/containers go past the mirror`,
      remedy: `shoal setup ${engine} --user`,
    };
  } catch (error) {
    const codes = ["ERR_SETUP_FILE", "ERR_SETUP_UNSUPPORTED", "ERR_SETUP_CONFLICT"] as const;
    if (hasCode(error, "ERR_SETUP_ACCESS", ...codes))
      return {
        isSetUp: false,
        found: `it can't be told from its files: ${error.message}`,
        remedy: `see docs/engines.md, ${error.code}`,
      };
    throw error;
  }
}

/** What a set-up would do, if it would change nothing. */
async function setUpPlan(
  engine: EngineName,
  { files, mirrors }: EngineChecksInit,
  home?: string,
): Promise<EnginePlan | undefined> {
  let fault: unknown;
  for (const mirror of mirrors) {
    try {
      // Who has written the settings by hand may have named this one alone.
      const plan = await planEngine(engine, { files, mirror, registries: ["docker.io"], home });
      if (plan.files.every(({ before, after }) => before === after)) return plan;
    } catch (error) {
      // They may be in the way of one address because they name another.
      fault ??= error;
    }
  }
  if (fault !== undefined) throw fault;
  return undefined;
}

function seen(
  engine: EngineName,
  { apply, bypasses }: EnginePlan,
  { status, nowMs }: EngineChecksInit,
): Check {
  const [first] = bypasses;
  if (first !== undefined) {
    const others = bypasses.slice(1).map(({ registries }) => registries);
    return warning(
      engine,
      `set up, but settings of its own in ${first.path} lead past the mirror for ${[first.registries, ...others].join(", ")}`,
      first.todo,
    );
  }
  if (status?.clients === undefined) return ok(engine, "its files name the mirror");
  const [client] = status.clients
    .filter((one) => CLIENTS[engine].includes(one.engine))
    .toSorted((a, b) => Date.parse(b.lastSeenAt) - Date.parse(a.lastSeenAt));
  if (client !== undefined)
    return ok(engine, `set up, and asked the mirror ${formatAge(client.lastSeenAt, nowMs)}`);
  const started = formatAge(status.startedAt, nowMs);
  return warning(
    engine,
    `set up, but has not asked the mirror since the daemon started ${started}`,
    `pull an image with it and look again${apply === undefined ? "" : `; it may not have read its files yet: ${apply}`}`,
  );
}
