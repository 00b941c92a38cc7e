/**
 * The `Link` to a registry's next page as the mirror's client must ask for it: by the name and the `ns=` that
 * it used, which the registry knows nothing of. Distribution spec, "Listing Tags". Pure.
 * @param next path and query of the page at the registry
 */
export function nextPageLink(asked: URL, next: string): string {
  const at = next.indexOf("?");
  const query = new URLSearchParams(at < 0 ? "" : next.slice(at + 1));
  const ns = asked.searchParams.get("ns");
  if (ns !== null) query.set("ns", ns);
  return `<${asked.pathname}?${query.toString()}>; rel="next"`;
}
