import { CodedError } from "@shoal/runtime";
import { resolve } from "node:path";
import { CommanderError } from "commander";
import { parseCommandLine } from "./command-line.ts";
import { configurationPath } from "./configuration.ts";
import { startDaemon } from "./daemon.ts";
import { loadConfiguration } from "./load-configuration.ts";
import { createLogger } from "./logging.ts";
import { welcome } from "./welcome.ts";

const USAGE = 2;
const FAILED = 1;
/** A terminal signals its whole group, and npm passes its own on: what comes this soon after is the same Ctrl-C. */
const SAME_SIGNAL_MS = 500;

const environment = { env: process.env, uid: process.getuid?.() ?? 0 };
const printError = (text: string): void => void process.stderr.write(text);

process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  // Whoever reads the pipe has seen enough: `--help | head`.
  if (error.code !== "EPIPE")
    printError(
      `error [ERR_OUTPUT]: standard output can't be written (${error.code}); is its disk full?\n`,
    );
  process.exit(FAILED);
});

async function main(): Promise<void> {
  const line = parseCommandLine(
    process.argv.slice(2),
    (text) => void process.stdout.write(text),
    printError,
  );
  if (line === undefined) return;
  const configuration = await loadConfiguration({
    environment,
    file: line.configFile,
    flags: line.flags,
  });
  const logger = createLogger(configuration.log, process.stderr.isTTY, printError);
  const stopped = Promise.withResolvers<string>();
  let stoppedMs: number | undefined;
  for (const signal of ["SIGTERM", "SIGINT"] as const)
    process.on(signal, () => {
      const nowMs = performance.now();
      stoppedMs ??= nowMs;
      stopped.resolve(signal);
      // Whoever asks twice does not want to wait.
      if (nowMs - stoppedMs > SAME_SIGNAL_MS) process.exit(FAILED);
    });
  const configurationFile = resolve(configurationPath(environment, line.configFile));
  const daemon = await startDaemon({ logger, environment, configurationFile }, configuration);
  process.stdout.write(welcome(daemon.places));

  process.on("uncaughtException", (error) => {
    logger.error({ error, stack: error.stack }, "the daemon failed");
    process.exit(FAILED);
  });
  logger.info({ signal: await stopped.promise }, "the daemon stops");
  await daemon[Symbol.asyncDispose]();
  process.exit(0);
}

try {
  await main();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = USAGE;
  else if (error instanceof CodedError) {
    printError(`error [${error.code}]: ${error.message}\n`);
    process.exitCode = error.code === "ERR_CONFIG" ? USAGE : FAILED;
  } else {
    printError(`error [ERR_INTERNAL]: ${error instanceof Error ? error.stack : String(error)}\n`);
    process.exitCode = FAILED;
  }
}
