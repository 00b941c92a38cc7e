import { type DistributionRequest, MEDIA_TYPES } from "@shoal/oci";
import type { ScriptedLibrary } from "./scripted-library.ts";

/** An answer of JSON. */
export interface ScriptedDocument {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** Answers `tags/list` with `n` and `last`. Distribution spec, "Listing Tags". */
export function listTags(
  library: ScriptedLibrary,
  { name }: Extract<DistributionRequest, { kind: "tags" }>,
  query: URLSearchParams,
): ScriptedDocument {
  const last = query.get("last");
  const after = library.tags(name).filter((tag) => last === null || tag > last);
  const count = query.has("n") ? Number(query.get("n")) : after.length;
  const tags = after.slice(0, count);
  const more = count > 0 && after.length > count;
  const next = new URLSearchParams({ n: String(count), last: tags.at(-1) ?? "" });
  return {
    headers: {
      "content-type": "application/json",
      ...(more ? { link: `</v2/${name}/tags/list?${next.toString()}>; rel="next"` } : {}),
    },
    body: JSON.stringify({ name, tags }),
  };
}

/** Answers `referrers` with `artifactType`. Distribution spec, "Listing Referrers". */
export function listReferrers(
  library: ScriptedLibrary,
  { name, digest }: Extract<DistributionRequest, { kind: "referrers" }>,
  query: URLSearchParams,
): ScriptedDocument {
  const wanted = query.get("artifactType");
  const manifests = library.manifests(name).flatMap(({ bytes, mediaType, digest: own }) => {
    const { subject, artifactType } = JSON.parse(Buffer.from(bytes).toString("utf8")) as {
      subject?: { digest: string };
      artifactType?: string;
    };
    if (subject?.digest !== digest || (wanted !== null && artifactType !== wanted)) return [];
    return [{ mediaType, digest: own, size: bytes.length, artifactType }];
  });
  return {
    headers: {
      "content-type": MEDIA_TYPES.ociIndex,
      ...(wanted === null ? {} : { "oci-filters-applied": "artifactType" }),
    },
    body: JSON.stringify({ schemaVersion: 2, mediaType: MEDIA_TYPES.ociIndex, manifests }),
  };
}
