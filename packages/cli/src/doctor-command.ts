import { type ApiClient, CodedError, hasCode, type PeerList, type Status } from "@shoal/api";
import type { CommandTools, CommonOptions } from "./command-tools.ts";
import { type Check, failed, ok, skipped } from "./doctor/check.ts";
import { checkEngines } from "./doctor/engine-checks.ts";
import { checkCertificate, checkClock, checkDisk, checkMirror } from "./doctor/machine-checks.ts";
import { checkLogins } from "./doctor/login-checks.ts";
import { checkNetwork } from "./doctor/network-checks.ts";
import { portProbes } from "./doctor/port-probes.ts";
import { EXIT } from "./exit-codes.ts";
import { formatAge, wrapBeside } from "./format.ts";
import { createMachineFiles } from "./setup/machine-files.ts";
import type { Terminal } from "./terminal.ts";
import { printable } from "./text.ts";

const DEFAULT_MIRROR = "127.0.0.1:5055";

/** Adds the command that looks for what keeps pulls from going through Shoal. */
export function addDoctorCommand(tools: CommandTools): void {
  const { command, withClient, print, terminal, env, signal } = tools;

  command("doctor", "Check that pulls go through Shoal, and tell what to mend", [
    "shoal doctor",
    "sudo shoal doctor --json",
  ])
    .option("--root <folder>", "the folder that stands for / where engines' files are", "/")
    .addHelpText(
      "after",
      "\n✓ is right, ! is to be looked at, ✗ is wrong, – can't be told; → is what to do. It exits with 1 when\nanything is wrong. It asks a registry for the time, and members' ports for an answer.",
    )
    .action(
      async (options: CommonOptions & { root: string }) =>
        await withClient(options, async (client) => {
          const checks = await examine(client, { terminal, env, root: options.root, signal });
          print({ checks }, options, () => doctorLines(checks, terminal.columns));
          return checks.some(({ state }) => state === "failed") ? EXIT.failed : EXIT.ok;
        }),
    );
}

interface DoctorInit {
  readonly terminal: Terminal;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The folder that stands for `/` where engines' files are looked for. */
  readonly root: string;
  readonly signal: AbortSignal;
}

/** Looks at everything that a pull through Shoal needs; what one look finds never ends the others. */
async function examine(client: ApiClient, init: DoctorInit): Promise<readonly Check[]> {
  const { terminal, signal } = init;
  const [daemon, status, peers] = await askDaemon(client, terminal.now(), signal);
  const mirrors = (status?.mirror ?? [DEFAULT_MIRROR]).map(reachable);
  const files = createMachineFiles(init.root);
  const engines = await checkEngines({
    files,
    mirrors,
    status,
    nowMs: terminal.now(),
    home: init.env["HOME"],
  });
  return [
    daemon,
    await checkMirror(mirrors[0] ?? DEFAULT_MIRROR, signal),
    ...engines,
    ...(status === undefined || peers === undefined
      ? [skipped("site", "only a daemon that runs tells its members, ports and free disk")]
      : await checkNetwork(status, peers, portProbes)),
    ...(status === undefined
      ? []
      : [
          await checkClock(
            status.registries.map(({ registry }) => registry),
            () => terminal.now(),
            signal,
          ),
          checkDisk(status),
          ...(status.certificate === undefined
            ? []
            : [checkCertificate(status.certificate, terminal.now())]),
        ]),
    ...checkLogins(status?.logins),
  ];
}

async function askDaemon(
  client: ApiClient,
  nowMs: number,
  signal: AbortSignal,
): Promise<[Check, Status?, PeerList?]> {
  try {
    const status = await client.status({ signal });
    const peers = await client.peers({ signal });
    const found = `${status.version}, started ${formatAge(status.startedAt, nowMs)}`;
    return [ok("daemon", found), status, peers];
  } catch (error) {
    if (!(error instanceof CodedError) || signal.aborted) throw error;
    const remedy = hasCode(error, "ERR_SOCKET_PERMISSION")
      ? "sudo shoal doctor"
      : "start it, or name its socket with --socket";
    return [failed("daemon", error.message, remedy)];
  }
}

/** An address that is listened on, as engines of this machine reach it. */
function reachable(address: string): string {
  return address
    .replace(/^https?:\/\//, "")
    .replace(/\/$/, "")
    .replace(/^(0\.0\.0\.0|\[::\]):/, "127.0.0.1:");
}

const MARKS = { ok: "✓", warning: "!", failed: "✗", skipped: "–" } as const;

function doctorLines(checks: readonly Check[], columns: number): readonly string[] {
  const margin = Math.max(...checks.map(({ name }) => name.length)) + 4;
  const lines = checks.flatMap(({ name, state, found, remedy }) => {
    const [first = "", ...more] = wrapBeside(printable(found), columns, margin);
    const label = `${MARKS[state]} ${name}`.padEnd(margin);
    const todo = remedy === undefined ? [] : wrapBeside(`→ ${printable(remedy)}`, columns, margin);
    return [label + first.slice(margin), ...more, ...todo];
  });
  const count = (state: Check["state"]): number =>
    checks.filter((check) => check.state === state).length;
  return [...lines, "", `${count("failed")} failed, ${count("warning")} to look at`];
}
