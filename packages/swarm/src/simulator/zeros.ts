/** Room for a head before the zeros. */
const HEAD_BYTES = 64 * 1024;
const MAX_ZEROS = 4 * 1024 * 1024;
const buffer = new Uint8Array(HEAD_BYTES + MAX_ZEROS);

/** Bytes of any simulated blob: a view of one buffer that everybody shares. */
export function zeros(length: number): Uint8Array {
  if (length > MAX_ZEROS) throw new RangeError(`${length} bytes are more than a piece`);
  return buffer.subarray(HEAD_BYTES, HEAD_BYTES + length);
}

/** Bytes of a piece that blocks are copied into: as those are zeros, they are not copied at all. */
class Gathered extends Uint8Array {
  override set(): void {}
}

/** Memory for a piece of a simulated blob, which takes none. */
export function gathered(length: number): Uint8Array {
  return new Gathered(buffer.buffer, HEAD_BYTES, length);
}

/**
 * A frame of the parts, without copying a last part that is of `zeros`. It is good until the next call: its
 * receiver decodes it at once.
 */
export function joinFrame(parts: readonly Uint8Array[]): Uint8Array {
  const last = parts.at(-1);
  if (last === undefined || last.buffer !== buffer.buffer)
    return parts.length === 1 ? parts[0]! : new Uint8Array(Buffer.concat(parts));
  let at = HEAD_BYTES;
  for (let index = parts.length - 2; index >= 0; index--) {
    at -= parts[index]!.length;
    buffer.set(parts[index]!, at);
  }
  return buffer.subarray(at, HEAD_BYTES + last.length);
}
