import type { IncomingHttpHeaders } from "node:http";
import { headerOf } from "./receiver.ts";

/** How many pulls a registry allows, as it told with its last manifest. Docker Hub does; others tell nothing. */
export interface PullLimit {
  readonly limit: number;
  readonly remaining: number;
  /** Time in which `limit` pulls are allowed, where it is told. */
  readonly windowSeconds?: number;
}

/** Reads `ratelimit-limit: 100;w=21600` and `ratelimit-remaining: 76;w=21600`. Pure. */
export function readPullLimit(headers: IncomingHttpHeaders): PullLimit | undefined {
  const limit = read(headerOf(headers, "ratelimit-limit"));
  const remaining = read(headerOf(headers, "ratelimit-remaining"));
  if (limit === undefined || remaining === undefined) return undefined;
  const windowSeconds = limit.windowSeconds ?? remaining.windowSeconds;
  return {
    limit: limit.count,
    remaining: remaining.count,
    ...(windowSeconds === undefined ? {} : { windowSeconds }),
  };
}

function read(text: string | undefined): { count: number; windowSeconds?: number } | undefined {
  const match = /^\s*(\d{1,12})\s*(?:;\s*w=(\d{1,9})\s*)?$/.exec(text ?? "");
  if (match === null) return undefined;
  const count = Number(match[1]);
  return match[2] === undefined ? { count } : { count, windowSeconds: Number(match[2]) };
}
