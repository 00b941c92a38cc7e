import { CodedError, type LogFields, type Logger } from "@shoal/runtime";
import pino from "pino";
import type { Configuration } from "./configuration.ts";

/** The log on standard error: JSON lines, or text on a terminal. Errors show their code and causes. */
export function createLogger(
  settings: Configuration["log"],
  isTerminal: boolean,
  write: (line: string) => void,
): Logger {
  const text = settings.format === "text" || (settings.format === "auto" && isTerminal);
  const stream = { write: text ? (line: string) => write(humanLine(line)) : write };
  const root = pino(
    {
      level: settings.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: serializeError },
    },
    stream,
  );
  return wrap(root);
}

function wrap(inner: pino.Logger): Logger {
  return {
    debug: (fields, message) => inner.debug(fields, message),
    info: (fields, message) => inner.info(fields, message),
    warn: (fields, message) => inner.warn(fields, message),
    error: (fields, message) => inner.error(fields, message),
    child: (fields: LogFields) => wrap(inner.child(fields)),
  };
}

function serializeError(error: unknown): unknown {
  if (!(error instanceof Error)) return String(error);
  const cause = error.cause === undefined ? {} : { cause: serializeError(error.cause) };
  if (error instanceof CodedError)
    return { code: error.code, message: error.message, ...error.details, ...cause };
  const { code } = error as NodeJS.ErrnoException;
  return {
    name: error.name,
    message: error.message,
    ...(code === undefined ? {} : { code }),
    ...(error instanceof TypeError || error instanceof RangeError ? { stack: error.stack } : {}),
    ...cause,
  };
}

/** `12:30:01 warn  message  key=value` */
function humanLine(line: string): string {
  const { time, level, msg, ...fields } = JSON.parse(line) as Record<string, unknown>;
  const rest = Object.entries(fields)
    .map(([key, value]) => `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join(" ");
  const clock = String(time).slice(11, 19);
  return `${clock} ${String(level).padEnd(5)} ${String(msg)}${rest === "" ? "" : `  ${rest}`}\n`;
}
