/** Half-open byte range. */
export interface RequestedRange {
  readonly start: number;
  readonly end: number;
}

/** containers/storage asks for up to 1,024 chunks of a zstd:chunked layer at a time. */
const MAX_RANGES = 1024;

/**
 * Parses a `Range` header of bytes against a body of `sizeBytes`. RFC 9110, section 14.
 * @returns the ranges, `unsatisfiable` for a 416, or `undefined` when the header is to be ignored
 */
export function parseRange(
  header: string,
  sizeBytes: number,
): readonly RequestedRange[] | "unsatisfiable" | undefined {
  const match = /^bytes=(.+)$/i.exec(header.trim());
  if (match === null) return undefined;
  const parts = match[1]!.split(",", MAX_RANGES + 1);
  if (parts.length > MAX_RANGES) return undefined;
  const ranges: RequestedRange[] = [];
  for (const part of parts) {
    const spec = /^\s*([0-9]{0,30})-([0-9]{0,30})\s*$/.exec(part);
    if (spec === null || (spec[1] === "" && spec[2] === "")) return undefined;
    const range =
      spec[1] === "" ? suffix(Number(spec[2]), sizeBytes) : fromTo(spec[1]!, spec[2]!, sizeBytes);
    if (range !== undefined) ranges.push(range);
  }
  if (ranges.length === 0) return "unsatisfiable";
  // Ranges that overlap to more than the whole are an attack, or not worth it: section 14.2.
  const total = ranges.reduce((sum, { start, end }) => sum + end - start, 0);
  return total > sizeBytes ? undefined : ranges;
}

function suffix(length: number, sizeBytes: number): RequestedRange | undefined {
  if (length === 0 || sizeBytes === 0) return undefined;
  return { start: Math.max(0, sizeBytes - length), end: sizeBytes };
}

function fromTo(first: string, last: string, sizeBytes: number): RequestedRange | undefined {
  const start = Number(first);
  const end = last === "" ? sizeBytes : Math.min(sizeBytes, Number(last) + 1);
  return start < end ? { start, end } : undefined;
}
