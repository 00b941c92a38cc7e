import { createHash } from "node:crypto";
import { readFile, rename, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { generateKeyPair, privateKeyFromProtobuf, privateKeyToProtobuf } from "@libp2p/crypto/keys";
import type { PrivateKey } from "@libp2p/interface";
import { peerIdFromPrivateKey } from "@libp2p/peer-id";
import { CodedError, type Logger, makeFolder, replaceFile } from "@shoal/runtime";
import type { PeerIdString } from "@shoal/swarm";
import * as z from "zod";

/** Who this machine is to the others: an Ed25519 key, and the peer id made from it. */
export interface Identity {
  readonly privateKey: PrivateKey;
  readonly peerId: PeerIdString;
}

export interface IdentityInit {
  /** The key is kept in its file `identity.json`. */
  readonly directory: string;
  /** @default /etc/machine-id */
  readonly machineIdFile?: string;
}

const FileSchema = z.strictObject({
  version: z.literal(1),
  privateKey: z.base64(),
  /** Hash of the machine id that the key was made on. */
  machine: z.string(),
});

/**
 * Loads this machine's identity or makes one. A key that was made on another machine is put aside: the disk
 * is a clone, and two machines must not share an identity.
 * @throws ERR_IDENTITY
 */
export async function loadIdentity(
  components: { readonly logger: Logger },
  init: IdentityInit,
): Promise<Identity> {
  const path = join(init.directory, "identity.json");
  const machine = await machineHash(init.machineIdFile ?? "/etc/machine-id");
  const text = await readText(path);
  if (text === undefined) return await createIdentity(path, machine);
  await ensurePrivate(path);
  const file = parseFile(path, text);
  if (file.machine !== machine) {
    components.logger.warn(
      { path },
      "this disk was cloned from another machine; it gets an identity of its own",
    );
    await rename(path, `${path}.other-machine`);
    return await createIdentity(path, machine);
  }
  try {
    return identityOf(privateKeyFromProtobuf(Buffer.from(file.privateKey, "base64")));
  } catch (cause) {
    throw unreadable(path, "holds no key", cause);
  }
}

/** An identity that is kept nowhere. */
export async function createEphemeralIdentity(): Promise<Identity> {
  return identityOf(await generateKeyPair("Ed25519"));
}

function identityOf(privateKey: PrivateKey): Identity {
  return { privateKey, peerId: peerIdFromPrivateKey(privateKey).toString() as PeerIdString };
}

async function createIdentity(path: string, machine: string): Promise<Identity> {
  const privateKey = await generateKeyPair("Ed25519");
  const file = {
    version: 1,
    privateKey: Buffer.from(privateKeyToProtobuf(privateKey)).toString("base64"),
    machine,
  };
  try {
    await makeFolder(dirname(path));
    await replaceFile(path, `${JSON.stringify(file)}\n`, { mode: 0o600 });
  } catch (cause) {
    throw unreadable(path, "can't be written", cause);
  }
  return identityOf(privateKey);
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw unreadable(path, "can't be read", cause);
  }
}

/** A key that others can read may be used by others. */
async function ensurePrivate(path: string): Promise<void> {
  const { mode } = await stat(path);
  if ((mode & 0o077) !== 0)
    throw new CodedError(
      "ERR_IDENTITY",
      `the identity file ${path} is open to other users; run chmod 600 ${path}, or remove it to get a new identity`,
      { details: { path } },
    );
}

function parseFile(path: string, text: string): z.infer<typeof FileSchema> {
  try {
    return FileSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw unreadable(path, "is damaged", cause);
  }
}

/** Machines without a machine id are told apart by nothing; they share one hash. */
async function machineHash(path: string): Promise<string> {
  const id = (await readText(path))?.trim() ?? "";
  return createHash("sha256").update("shoal/machine/1").update(id).digest("hex").slice(0, 32);
}

function unreadable(path: string, fault: string, cause: unknown): CodedError<"ERR_IDENTITY"> {
  return new CodedError(
    "ERR_IDENTITY",
    `the identity file ${path} ${fault}; see that the daemon's user owns it, or remove it to get a new identity`,
    { cause, details: { path } },
  );
}
