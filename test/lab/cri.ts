import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";

/** `PullImage` answers when the image is unpacked. */
const PULL_MS = 100_000;

/**
 * Asks a container runtime for an image as the kubelet and crictl do: `runtime.v1.ImageService/PullImage`, gRPC
 * over its Unix socket (https://github.com/kubernetes/cri-api).
 * @returns the image's id
 */
export async function pullByCri(socket: string, reference: string): Promise<string> {
  // PullImageRequest.image is field 1, and ImageSpec.image field 1 of it.
  const answer = await call(socket, "PullImage", field(1, field(1, Buffer.from(reference))));
  // PullImageResponse.image_ref is field 1; an id is shorter than the 128 bytes from which a length takes two.
  return answer.subarray(2, 2 + answer[1]!).toString();
}

/** Throws while the runtime's image service is not there yet. */
export async function askCri(socket: string): Promise<void> {
  await call(socket, "ListImages", Buffer.alloc(0));
}

/** A field of protobuf's wire type 2: bytes behind their length, of less than 128. */
function field(number: number, bytes: Buffer): Buffer {
  if (bytes.length > 127) throw new RangeError(`${bytes.length} bytes are too long here`);
  return Buffer.concat([Buffer.of((number << 3) | 2, bytes.length), bytes]);
}

/** One call with one message each way. Throws with the runtime's own words. */
async function call(socket: string, method: string, message: Buffer): Promise<Buffer> {
  const session = connectHttp2("http://localhost", { createConnection: () => connect(socket) });
  try {
    const request = session.request({
      ":method": "POST",
      ":path": `/runtime.v1.ImageService/${method}`,
      "content-type": "application/grpc",
      te: "trailers",
    });
    const chunks: Buffer[] = [];
    let told: Record<string, unknown> = {};
    const broken = new Promise<never>((_resolve, reject) => session.once("error", reject));
    const ended = new Promise<void>((resolve, reject) => {
      // A call that fails at once has its status in the headers.
      request.on("response", (headers) => (told = headers));
      request.on("trailers", (trailers) => (told = trailers));
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.once("error", reject);
      request.once("close", resolve);
      request.setTimeout(PULL_MS, () => reject(new Error(`${method}: no answer`)));
    });
    // Uncompressed, and its length.
    const head = Buffer.alloc(5);
    head.writeUInt32BE(message.length, 1);
    request.end(Buffer.concat([head, message]));
    await Promise.race([ended, broken]);
    if (told["grpc-status"] !== "0")
      throw new Error(`${method}: ${decodeURIComponent(String(told["grpc-message"]))}`);
    return Buffer.concat(chunks).subarray(5);
  } finally {
    session.destroy();
  }
}
