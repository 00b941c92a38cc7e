import type { SiteRecord } from "@shoal/network";
import { createTurns } from "@shoal/runtime";
import * as z from "zod";
import {
  faulty,
  type PrivateFile,
  readPrivateFile,
  removePrivateFile,
  writePrivateFile,
} from "./private-file.ts";

const encoded = z.base64().transform((text) => new Uint8Array(Buffer.from(text, "base64")));
const FileSchema = z.strictObject({
  version: z.literal(1),
  site: z.strictObject({ id: z.string(), serviceTag: z.string(), prologue: encoded }),
  publicKey: encoded.optional(),
  certificate: encoded.optional(),
  notices: z.array(encoded),
});

/** Where a machine keeps what it knows of its site beside the token: its certificate, and who was revoked. */
export interface MembershipFile {
  /** @throws ERR_SITE_FILE */
  read(): Promise<SiteRecord | undefined>;
  /** One write after another; on disk when it resolves. @throws ERR_SITE_FILE */
  write(record: SiteRecord): Promise<void>;
  remove(): Promise<void>;
}

export function createMembershipFile(path: string): MembershipFile {
  const file: PrivateFile = {
    path,
    what: "the file of this machine's membership",
    remedy:
      "see that the daemon's user owns it, or move it away and run `shoal join` with a new join token",
  };
  const inTurn = createTurns();

  return {
    async read() {
      const value = await readPrivateFile(file);
      if (value === undefined) return undefined;
      const parsed = FileSchema.safeParse(value);
      if (!parsed.success) throw faulty(file, "is damaged", parsed.error);
      const { site, publicKey, certificate, notices } = parsed.data;
      return { site, publicKey, certificate, notices };
    },
    async write({ site, publicKey, certificate, notices }) {
      await inTurn(
        async () =>
          await writePrivateFile(file, {
            version: 1,
            site: {
              id: site.id,
              serviceTag: site.serviceTag,
              prologue: base64(site.prologue),
            },
            ...(publicKey === undefined ? {} : { publicKey: base64(publicKey) }),
            ...(certificate === undefined ? {} : { certificate: base64(certificate) }),
            notices: notices.map(base64),
          }),
      );
    },
    remove: async () => await inTurn(async () => await removePrivateFile(file)),
  };
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}
