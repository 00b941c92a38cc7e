const UNITS: Readonly<Record<string, number>> = {
  bit: 1 / 8,
  kbit: 1e3 / 8,
  mbit: 1e6 / 8,
  gbit: 1e9 / 8,
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  kib: 1024,
  mib: 1024 ** 2,
  gib: 1024 ** 3,
};

const SIZES: Readonly<Record<string, number>> = {
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: 1024,
  mib: 1024 ** 2,
  gib: 1024 ** 3,
  tib: 1024 ** 4,
};

/**
 * A rate as people write it, in bytes per second: `20Mbit`, `2.5 MB/s`, `512KiB`; `null` for `none`.
 * @returns `undefined` for anything else, and for rates below a byte a second
 */
export function parseRate(text: string): number | null | undefined {
  if (text.trim().toLowerCase() === "none") return null;
  const [, amount, unit] = /^\s*(\d{1,12}(?:\.\d{1,6})?)\s*([a-z]+?)(?:\/s)?\s*$/i.exec(text) ?? [];
  const scale = unit === undefined ? undefined : UNITS[unit.toLowerCase()];
  if (amount === undefined || scale === undefined) return undefined;
  const bytesPerSecond = Math.round(Number(amount) * scale);
  return bytesPerSecond >= 1 && bytesPerSecond <= 1e12 ? bytesPerSecond : undefined;
}

/** `20 Mbit/s` */
export function formatRate(bytesPerSecond: number): string {
  const bits = bytesPerSecond * 8;
  const [scale, unit] = bits >= 1e9 ? [1e9, "Gbit"] : bits >= 1e6 ? [1e6, "Mbit"] : [1e3, "kbit"];
  return `${Number((bits / scale).toFixed(2))} ${unit}/s`;
}

/** A size as people write it, in bytes: `20GB`, `512 MiB`, `0`. @returns `undefined` for anything else */
export function parseBytes(text: string): number | undefined {
  const [, amount, unit = "b"] =
    /^\s*(\d{1,15}(?:\.\d{1,6})?)\s*([kmgt]?i?b)?\s*$/i.exec(text) ?? [];
  const scale = SIZES[unit.toLowerCase()];
  if (amount === undefined || scale === undefined) return undefined;
  const bytes = Math.round(Number(amount) * scale);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}
