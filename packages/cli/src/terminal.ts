import { createColors } from "picocolors";

/** Where a command writes, and what that can show. */
export interface Terminal {
  readonly columns: number;
  readonly rows: number;
  /** Whether lines may be drawn over. */
  readonly isLive: boolean;
  readonly colors: ReturnType<typeof createColors>;
  out(text: string): void;
  err(text: string): void;
  now(): number;
}

/** The process's own. Colours and live bars only on a terminal, and never with NO_COLOR. */
export function processTerminal(): Terminal {
  const { stdout, stderr, env } = process;
  const noColor = env["NO_COLOR"] !== undefined && env["NO_COLOR"] !== "";
  return {
    // Asked anew each time: windows are resized. What is piped is for programs, and never cut.
    get columns() {
      return stdout.columns ?? Number.POSITIVE_INFINITY;
    },
    get rows() {
      return stdout.rows ?? 24;
    },
    isLive: stdout.isTTY && env["TERM"] !== "dumb",
    colors: createColors(stdout.isTTY && !noColor),
    out: (text) => void stdout.write(text),
    err: (text) => void stderr.write(text),
    now: () => Date.now(),
  };
}

/** Lines that are drawn again at their place. */
export interface LiveLines {
  draw(lines: readonly string[]): void;
}

export function createLiveLines(terminal: Pick<Terminal, "out">): LiveLines {
  let drawn = 0;
  return {
    draw(lines) {
      const up = drawn === 0 ? "" : `\u001B[${drawn}A`;
      terminal.out(`${up}${lines.map((line) => `\u001B[2K${line}\n`).join("")}\u001B[0J`);
      drawn = lines.length;
    },
  };
}
