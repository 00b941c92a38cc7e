import type { IncomingMessage } from "node:http";

/**
 * The URL of a request, on a host that means nothing; `undefined` when its target is none (`//`), which Node
 * lets through as it came.
 */
export function requestUrl({ url }: Pick<IncomingMessage, "url">): URL | undefined {
  return URL.parse(url ?? "/", "http://localhost") ?? undefined;
}
