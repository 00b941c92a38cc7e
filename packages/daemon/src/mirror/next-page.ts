/**
 * The `Link` to a registry's next page as the mirror's client must ask for it: by the name and the `ns=` that
 * it used, which the registry knows nothing of. Distribution spec, "Listing Tags". Pure.
 * @param nextQuery what the registry wants to be asked for the page
 */
export function nextPageLink(asked: URL, nextQuery: string): string {
  const query = new URLSearchParams(nextQuery);
  const ns = asked.searchParams.get("ns");
  if (ns === null) query.delete("ns");
  else query.set("ns", ns);
  return `<${asked.pathname}?${query.toString()}>; rel="next"`;
}
