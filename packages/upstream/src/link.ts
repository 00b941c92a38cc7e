/**
 * The next page's path and query out of a `Link` header, or undefined. Only the query is the header's: a
 * registry must not send clients elsewhere, and a mirror may have the repository at another path.
 * Distribution spec, "Listing Tags"; RFC 8288.
 * @param path what was asked for, by the name that clients know
 */
export function nextPage(header: string | undefined, path: string): string | undefined {
  for (const [, target, parameters] of (header ?? "").matchAll(/<([^<>]*)>([^,<]*)/g)) {
    if (!/;\s*rel\s*=\s*"?next"?\s*(;|$)/i.test(parameters!.trim())) continue;
    const url = URL.parse(target!, `http://registry.invalid${path}`);
    if (url !== null && url.search !== "") return `${path.split("?", 1)[0]}${url.search}`;
  }
  return undefined;
}
