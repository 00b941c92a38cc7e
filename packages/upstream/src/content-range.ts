/** A `Content-Range` of bytes, half-open. */
export interface ContentRange {
  readonly start: number;
  readonly end: number;
  /** Size of the whole, unless it is `*`. */
  readonly sizeBytes?: number;
}

/** Parses `bytes 0-99/2048` or `bytes 0-99/*`; anything else is undefined. RFC 9110, section 14.4. */
export function parseContentRange(text: string | undefined): ContentRange | undefined {
  const match = /^\s*bytes\s+(\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)\s*$/i.exec(text ?? "");
  if (match === null) return undefined;
  const start = Number(match[1]);
  const end = Number(match[2]) + 1;
  if (end <= start) return undefined;
  if (match[3] === "*") return { start, end };
  const sizeBytes = Number(match[3]);
  return end > sizeBytes ? undefined : { start, end, sizeBytes };
}
