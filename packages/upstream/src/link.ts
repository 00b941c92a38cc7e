/**
 * The query of the next page out of a `Link` header, without its `?`, or undefined. Only the query is the
 * header's to say: a registry must not send clients elsewhere, and a mirror has the repository at another path.
 * Distribution spec, "Listing Tags"; RFC 8288. Pure.
 */
export function nextPageQuery(header: string | undefined): string | undefined {
  for (const [, target, parameters] of (header ?? "").matchAll(/<([^<>]*)>([^,<]*)/g)) {
    if (!/;\s*rel\s*=\s*"?next"?\s*(;|$)/i.test(parameters!.trim())) continue;
    const url = URL.parse(target!, "http://registry.invalid/");
    if (url !== null && url.search !== "") return url.search.slice(1);
  }
  return undefined;
}
