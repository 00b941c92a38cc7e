/**
 * The next page's path and query out of a `Link` header, or undefined. Only those: a registry must not
 * send clients elsewhere. Distribution spec, "Listing Tags"; RFC 8288.
 * @param path what the answer belongs to, for relative targets
 */
export function nextPage(header: string | undefined, path: string): string | undefined {
  for (const [, target, parameters] of (header ?? "").matchAll(/<([^<>]*)>([^,<]*)/g)) {
    if (!/;\s*rel\s*=\s*"?next"?\s*(;|$)/i.test(parameters!.trim())) continue;
    const url = URL.parse(target!, `http://registry.invalid${path}`);
    if (url !== null) return `${url.pathname}${url.search}`;
  }
  return undefined;
}
