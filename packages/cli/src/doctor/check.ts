/** What one look at the machine has found. */
export interface Check {
  readonly name: string;
  /** `skipped`: it can't be told here and now. */
  readonly state: "ok" | "warning" | "failed" | "skipped";
  readonly found: string;
  /** What to do about it; always there for a warning and a failure. */
  readonly remedy?: string;
}

export function ok(name: string, found: string): Check {
  return { name, state: "ok", found };
}

export function warning(name: string, found: string, remedy: string): Check {
  return { name, state: "warning", found, remedy };
}

export function failed(name: string, found: string, remedy: string): Check {
  return { name, state: "failed", found, remedy };
}

export function skipped(name: string, found: string): Check {
  return { name, state: "skipped", found };
}
