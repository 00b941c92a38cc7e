const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"] as const;

/** `1.5 MiB` */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${UNITS[unit]!}`;
}

/** `4.2 s`, `3 min 5 s`, `2 h 10 min` */
export function formatDuration(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} days`;
}

/** How long ago a time of the wall clock was: `3 min 5 s ago`. */
export function formatAge(iso: string, nowMs: number): string {
  const age = nowMs - Date.parse(iso);
  return age < 2000 ? "now" : `${formatDuration(age)} ago`;
}

/** `97 %`; a part that is not nothing is never shown as none, and one that is not all never as all. */
export function formatShare(part: number, whole: number): string {
  if (whole === 0 || part === 0) return "0 %";
  const percent = Math.round((part / whole) * 100);
  return `${part === whole ? 100 : Math.min(99, Math.max(1, percent))} %`;
}

/** Digests are told apart by their first twelve letters. */
export function shortDigest(digest: string): string {
  return digest.replace(/^sha(256|512):/, "").slice(0, 12);
}

/** Cuts text that is wider than `columns`. */
export function cut(text: string, columns: number): string {
  return text.length <= columns
    ? text
    : columns <= 1
      ? text.slice(0, columns)
      : `${text.slice(0, columns - 1)}…`;
}

/** `1 blob`, `2 blobs` */
export function formatCount(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

/** Lines of at most `columns`, broken at blanks, and in a word only where it is longer than a line. */
export function wrap(text: string, columns: number): string[] {
  const room = Math.max(1, columns);
  const lines: string[] = [];
  let rest = text;
  while (rest.length > room) {
    const blank = rest.lastIndexOf(" ", room);
    const end = blank > 0 ? blank : room;
    lines.push(rest.slice(0, end).trimEnd());
    rest = rest.slice(end).trimStart();
  }
  return rest === "" ? lines : [...lines, rest];
}

/** {@link wrap} with every line after `margin` blanks. */
export function wrapBeside(text: string, columns: number, margin: number): string[] {
  return wrap(text, columns - margin).map((line) => cut(" ".repeat(margin) + line, columns));
}

/**
 * Columns of a table, each as wide as its widest cell. Where they are wider than `columns`, those of
 * the indexes in `dispensable` are left out, the first one first, and then the last column is cut.
 */
export function table(
  rows: readonly (readonly string[])[],
  columns: number,
  dispensable: readonly number[] = [],
): string[] {
  const widths: number[] = [];
  for (const row of rows)
    for (const [index, cell] of row.entries())
      widths[index] = Math.max(widths[index] ?? 0, cell.length);
  let kept = [...widths.keys()];
  for (const index of dispensable) {
    const width = kept.reduce((sum, at) => sum + widths[at]! + 2, -2);
    if (width > columns) kept = kept.filter((at) => at !== index);
  }
  return rows.map((row) =>
    cut(
      kept
        .map((at) => (row[at] ?? "").padEnd(widths[at]!))
        .join("  ")
        .trimEnd(),
      columns,
    ),
  );
}
