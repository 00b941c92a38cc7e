/** Less is not worth an early end, and may share its memory with other small buffers. */
const LEAST_BYTES = 64 * 1024;
/** What a frame's head, say, may take beside the bytes in the same memory. */
const BESIDE_BYTES = 4096;

/**
 * Gives the memory of large bytes back at once instead of when the collector finds that nobody uses it: buffers
 * of a piece's size otherwise pile up by the hundred MiB. For who owns the bytes alone. They are empty from then
 * on, for everybody; what is only a part of a larger buffer stays as it is.
 */
export function freeMemory(bytes: Uint8Array): void {
  const { buffer } = bytes;
  if (!(buffer instanceof ArrayBuffer) || bytes.length < LEAST_BYTES) return;
  if (buffer.byteLength > bytes.length + BESIDE_BYTES) return;
  buffer.transfer(0);
}
