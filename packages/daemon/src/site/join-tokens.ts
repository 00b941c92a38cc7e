import { CodedError, createTurns } from "@shoal/runtime";
import * as z from "zod";
import { faulty, type PrivateFile, readPrivateFile, writePrivateFile } from "./private-file.ts";

/** Join tokens that may be good at a time. */
const MAX_TOKENS = 100;

const TokenSchema = z.strictObject({
  id: z.string(),
  /** What is kept of a token: it can be checked with it and not made from it. */
  publicKey: z.base64(),
  uses: z.int().min(1),
  createdMs: z.number(),
  /** Wall-clock milliseconds. */
  notAfterMs: z.number(),
  /** Machines that have used it, each once. */
  peers: z.array(z.string()),
});
type JoinTokenRecord = z.infer<typeof TokenSchema>;
const FileSchema = z.strictObject({ version: z.literal(1), tokens: z.array(TokenSchema) });

/** The join tokens that this machine has made, on disk without their secrets. */
export interface JoinTokens {
  /** The key that the token's holder signs with, while the peer may use the token. */
  joinKey(
    id: string,
    peer: string,
    isRevoked: (peer: string, sinceMs: number) => boolean,
  ): Uint8Array | undefined;
  /** @throws ERR_JOIN_TOKENS when there are too many, ERR_SITE_FILE */
  add(
    token: Omit<JoinTokenRecord, "peers" | "publicKey" | "createdMs"> & {
      readonly publicKey: Uint8Array;
    },
  ): Promise<void>;
  /** Counts a use, once a machine. @throws ERR_JOIN_TOKENS when it has none left, ERR_SITE_FILE */
  use(id: string, peer: string): Promise<void>;
}

export async function openJoinTokens(path: string, now: () => number): Promise<JoinTokens> {
  const file: PrivateFile = {
    path,
    what: "the file of join tokens",
    remedy: "see that the daemon's user owns it, or remove it: its join tokens then admit nobody",
  };
  let tokens = await readTokens(file);
  const inTurn = createTurns();

  /** What is on disk counts: a use that was not written down is none. */
  async function change(
    work: (current: readonly JoinTokenRecord[]) => JoinTokenRecord[],
  ): Promise<void> {
    await inTurn(async () => {
      const changed = work(tokens);
      if (changed === tokens) return;
      await writePrivateFile(file, { version: 1, tokens: changed });
      tokens = changed;
    });
  }

  const isGood = ({ notAfterMs }: JoinTokenRecord): boolean => now() < notAfterMs;
  const hasUse = (token: JoinTokenRecord, peer: string): boolean =>
    token.peers.includes(peer) || token.peers.length < token.uses;

  return {
    joinKey(id, peer, isRevoked) {
      const token = tokens.find((each) => each.id === id);
      if (token === undefined || !isGood(token) || !hasUse(token, peer)) return undefined;
      // Who was put out knows it still, and could come with a new identity.
      if (token.peers.some((user) => isRevoked(user, token.createdMs))) return undefined;
      return new Uint8Array(Buffer.from(token.publicKey, "base64"));
    },
    async add({ id, publicKey, uses, notAfterMs }) {
      await change((current) => {
        const kept = current.filter((token) => isGood(token) && token.peers.length < token.uses);
        if (kept.length >= MAX_TOKENS)
          throw new CodedError(
            "ERR_JOIN_TOKENS",
            `${MAX_TOKENS} join tokens are good already; use one of them for several machines (--uses), or wait until some have expired`,
          );
        const key = Buffer.from(publicKey).toString("base64");
        const token = { id, publicKey: key, uses, createdMs: now(), notAfterMs, peers: [] };
        return [...current.filter(isGood), token].slice(-2 * MAX_TOKENS);
      });
    },
    async use(id, peer) {
      await change((current) => {
        const token = current.find((each) => each.id === id);
        if (token === undefined || !isGood(token) || !hasUse(token, peer))
          throw new CodedError("ERR_JOIN_TOKENS", "the join token has no use left");
        if (token.peers.includes(peer)) return current as JoinTokenRecord[];
        const used = { ...token, peers: [...token.peers, peer] };
        return current.map((each) => (each === token ? used : each));
      });
    },
  };
}

async function readTokens(file: PrivateFile): Promise<JoinTokenRecord[]> {
  const value = await readPrivateFile(file);
  if (value === undefined) return [];
  const parsed = FileSchema.safeParse(value);
  if (!parsed.success) throw faulty(file, "is damaged", parsed.error);
  return parsed.data.tokens;
}
