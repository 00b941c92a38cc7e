#!/usr/bin/env node
import { CodedError } from "@shoal/api";
import { CommanderError } from "commander";
import { EXIT, exitCodeOf } from "./exit-codes.ts";
import { createProgram } from "./program.ts";
import { processTerminal } from "./terminal.ts";
import { printable } from "./text.ts";

/** A terminal signals its whole group, and npm passes its own on: what comes this soon after is the same Ctrl-C. */
const SAME_SIGNAL_MS = 500;

const interrupt = new AbortController();
let interruptedMs = 0;
function stop(): void {
  if (interrupt.signal.aborted) {
    if (performance.now() - interruptedMs > SAME_SIGNAL_MS) process.exit(EXIT.interrupted);
    return;
  }
  interruptedMs = performance.now();
  interrupt.abort(new CodedError("ERR_INTERRUPTED", "interrupted"));
  // Ends the wait for a token.
  process.stdin.destroy();
}
process.on("SIGINT", stop);
process.on("SIGTERM", stop);
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  // Whoever reads the pipe has seen enough: `shoal pulls | head`.
  if (error.code === "EPIPE") process.exit(EXIT.ok);
  writeError(
    new CodedError(
      "ERR_OUTPUT",
      `standard output can't be written (${error.code}); is its disk full?`,
    ),
  );
  process.exit(EXIT.failed);
});

const json = process.argv.includes("--json");
function writeError({ code, message }: CodedError): void {
  process.stderr.write(
    json
      ? `${JSON.stringify({ error: { code, message } })}\n`
      : `error [${code}]: ${printable(message)}\n`,
  );
}

const program = createProgram({
  terminal: processTerminal(),
  env: process.env,
  uid: process.getuid?.() ?? 0,
  stdin: process.stdin,
  json,
  interrupted: interrupt.signal,
  exit(code) {
    process.exitCode = code;
  },
});

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError)
    process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  else if (interrupt.signal.aborted) process.exitCode = EXIT.interrupted;
  else {
    const coded =
      error instanceof CodedError
        ? error
        : new CodedError(
            "ERR_INTERNAL",
            error instanceof Error ? (error.stack ?? error.message) : String(error),
          );
    writeError(coded);
    process.exitCode = exitCodeOf(coded);
  }
}
process.stdin.unref?.();
