import type { AuditFields } from "@shoal/api";
import type { AuditEvent, Clock } from "@shoal/runtime";

/** How events of a kind become fewer records: equal ones within a window are one, with their count and bytes. */
interface Rule {
  readonly windowMs: number;
  /** Whether the first of a window is recorded at once, and those after it at the window's end. */
  readonly firstAtOnce: boolean;
  /** What is left of an event when too many different ones come in one window. */
  readonly coarse: readonly string[];
}

const RULES: Partial<Record<AuditEvent["kind"], Rule>> = {
  serve: { windowMs: 30_000, firstAtOnce: false, coarse: ["peer"] },
  pull: { windowMs: 30_000, firstAtOnce: true, coarse: ["via", "object", "outcome"] },
  deny: { windowMs: 60_000, firstAtOnce: true, coarse: ["at", "reason"] },
  "verification-failure": { windowMs: 60_000, firstAtOnce: true, coarse: ["of"] },
};
/** Different events that are told apart in one window. */
const MOST_APART = 1000;
const MOST_TEXT = 512;
const MOST_LIST = 64;
const MOST_LIST_TEXT = 96;

interface Tally {
  readonly fields: AuditFields;
  count: number;
  bytes: number | undefined;
}

/** Keeps a flood of events from being a flood of records. */
export interface Gathering extends Disposable {
  add(event: AuditEvent): void;
  /** Records what is still gathered. */
  flush(): void;
}

export function createGathering(
  clock: Pick<Clock, "schedule">,
  emit: (kind: string, fields: AuditFields) => void,
): Gathering {
  const windows = new Map<string, { tallies: Map<string, Tally>; timer: Disposable }>();

  function close(kind: string): void {
    const window = windows.get(kind);
    if (window === undefined) return;
    windows.delete(kind);
    window.timer[Symbol.dispose]();
    for (const { fields, count, bytes } of window.tallies.values())
      if (count > 0) emit(kind, { ...fields, ...(bytes === undefined ? {} : { bytes }), count });
  }

  function windowOf(kind: string, { windowMs }: Rule): Map<string, Tally> {
    let window = windows.get(kind);
    if (window === undefined) {
      window = { tallies: new Map(), timer: clock.schedule(windowMs, () => close(kind)) };
      windows.set(kind, window);
    }
    return window.tallies;
  }

  function gather(kind: string, all: AuditFields, rule: Rule): void {
    const { bytes, ...fields } = all;
    const tallies = windowOf(kind, rule);
    let key = JSON.stringify(fields);
    let tally = tallies.get(key);
    if (tally === undefined && tallies.size >= MOST_APART) {
      const coarse = Object.fromEntries(
        Object.entries(fields).filter(([name]) => rule.coarse.includes(name)),
      );
      key = JSON.stringify({ ...coarse, others: true });
      tally = tallies.get(key) ?? { fields: { ...coarse, others: true }, count: 0, bytes: 0 };
      tallies.set(key, tally);
    }
    if (tally === undefined) {
      tally = { fields, count: 0, bytes: undefined };
      tallies.set(key, tally);
      if (rule.firstAtOnce) {
        emit(kind, all);
        return;
      }
    }
    tally.count += 1;
    if (typeof bytes === "number") tally.bytes = (tally.bytes ?? 0) + bytes;
  }

  return {
    add({ kind, ...own }) {
      const fields = tame(own);
      const rule = RULES[kind];
      if (rule === undefined) emit(kind, fields);
      else gather(kind, fields, rule);
    },
    flush() {
      for (const kind of windows.keys()) close(kind);
    },
    [Symbol.dispose]() {
      for (const { timer } of windows.values()) timer[Symbol.dispose]();
      windows.clear();
    },
  };
}

/** Fields that fit into a line, whatever was asked for: texts are printable ASCII and not too long. */
function tame(own: Readonly<Record<string, unknown>>): AuditFields {
  const fields: Record<string, AuditFields[string]> = {};
  for (const [name, value] of Object.entries(own)) {
    if (typeof value === "string") fields[name] = plain(value, MOST_TEXT);
    else if (typeof value === "number" || typeof value === "boolean") fields[name] = value;
    else if (Array.isArray(value)) fields[name] = plainList(value.map(String));
  }
  return fields;
}

function plainList(texts: readonly string[]): string[] {
  const shown = texts.slice(0, MOST_LIST).map((text) => plain(text, MOST_LIST_TEXT));
  return texts.length <= MOST_LIST ? shown : [...shown, `${texts.length - MOST_LIST} more`];
}

function plain(text: string, length: number): string {
  const cut = text.length > length ? `${text.slice(0, length - 3)}...` : text;
  return cut.replaceAll(/[^\x20-\x7E]/g, "?");
}
