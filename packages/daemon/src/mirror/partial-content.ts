import type { RequestedRange } from "@shoal/oci";

/** What of a blob is sent, and how it is framed. */
export interface PartialContent {
  readonly status: 200 | 206;
  /** `Content-Type`, `Content-Length`, and of one range its `Content-Range`. */
  readonly headers: Readonly<Record<string, string | number>>;
  /** The body, with the bytes of each range from `read`, in the order in which they were asked for. */
  chunks(read: (range: RequestedRange) => AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array>;
}

const CONTENT_TYPE = "application/octet-stream";

/**
 * Frames a blob or ranges of it: one range as it is, several as `multipart/byteranges`, which the lazy pulls of
 * zstd:chunked and eStargz ask for. RFC 9110, sections 14.4 and 14.6. Pure.
 * @param ranges not empty, none of them empty; undefined for the whole blob
 * @param boundary must not occur in the blob: random
 */
export function partialContent(
  ranges: readonly RequestedRange[] | undefined,
  sizeBytes: number,
  boundary: string,
): PartialContent {
  const [first = { start: 0, end: sizeBytes }, ...others] = ranges ?? [];
  const rangeOf = ({ start, end }: RequestedRange): string =>
    `bytes ${start}-${end - 1}/${sizeBytes}`;
  if (ranges === undefined || others.length === 0)
    return {
      status: ranges === undefined ? 200 : 206,
      headers: {
        "content-type": CONTENT_TYPE,
        "content-length": first.end - first.start,
        ...(ranges === undefined ? {} : { "content-range": rangeOf(first) }),
      },
      chunks: (read) => read(first),
    };
  const parts = ranges.map((range, index) => ({
    range,
    head: Buffer.from(
      `${index === 0 ? "" : "\r\n"}--${boundary}\r\nContent-Type: ${CONTENT_TYPE}\r\nContent-Range: ${rangeOf(range)}\r\n\r\n`,
    ),
  }));
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`);
  return {
    status: 206,
    headers: {
      "content-type": `multipart/byteranges; boundary=${boundary}`,
      "content-length": parts.reduce(
        (sum, { range, head }) => sum + head.length + range.end - range.start,
        tail.length,
      ),
    },
    async *chunks(read) {
      for (const { range, head } of parts) {
        let isFirst = true;
        for await (const chunk of read(range)) {
          // Not before its bytes are there: a failure before any is an answer with a status of its own.
          if (isFirst) yield head;
          isFirst = false;
          yield chunk;
        }
      }
      yield tail;
    },
  };
}
