import { createSiteKeySeed, type SiteKey, siteKeyOf } from "@shoal/network";
import { CodedError } from "@shoal/runtime";
import * as z from "zod";
import {
  faulty,
  type PrivateFile,
  readPrivateFile,
  removePrivateFile,
  writePrivateFile,
} from "./private-file.ts";

const SEED_BYTES = 32;
const FileSchema = z.strictObject({
  version: z.literal(1),
  /** Public name of the site that it is for. */
  site: z.string(),
  seed: z
    .base64()
    .transform((text) => new Uint8Array(Buffer.from(text, "base64")))
    .refine(({ length }) => length === SEED_BYTES),
});

/** Where the site key is kept. It is read whenever it is needed, so it may be taken away and brought back. */
export interface SiteKeyFile {
  readonly path: string;
  /** `undefined` while it is not there. @throws ERR_SITE_FILE */
  read(site: string): Promise<SiteKey | undefined>;
  /** @throws ERR_SITE_KEY while it is not there, ERR_SITE_FILE */
  need(site: string): Promise<SiteKey>;
  /** Makes the key of a site. @throws ERR_SITE_KEY when a key is there, ERR_SITE_FILE */
  create(site: string): Promise<SiteKey>;
  remove(): Promise<void>;
}

export function createSiteKeyFile(path: string): SiteKeyFile {
  const file: PrivateFile = {
    path,
    what: "the file of the site key",
    remedy: "see that the daemon's user owns it, or bring its copy back",
  };

  async function parsed(): Promise<z.infer<typeof FileSchema> | undefined> {
    const value = await readPrivateFile(file);
    if (value === undefined) return undefined;
    const result = FileSchema.safeParse(value);
    if (!result.success) throw faulty(file, "is damaged", result.error);
    return result.data;
  }

  async function read(site: string): Promise<SiteKey | undefined> {
    const found = await parsed();
    if (found === undefined) return undefined;
    if (found.site !== site) throw faulty(file, "is of another site than this machine is in");
    return siteKeyOf(found.seed);
  }

  return {
    path,
    read,
    async need(site) {
      const key = await read(site);
      if (key !== undefined) return key;
      throw new CodedError(
        "ERR_SITE_KEY",
        `the site key is not on this machine; do this where \`shoal members\` shows the role issuer, or bring the key back to ${path}`,
        { details: { path } },
      );
    },
    async create(site) {
      if ((await parsed()) !== undefined)
        throw new CodedError(
          "ERR_SITE_KEY",
          `there is a site key at ${path}, which may be the only one of a site; move it away first`,
          { details: { path } },
        );
      const seed = createSiteKeySeed();
      const value = { version: 1, site, seed: Buffer.from(seed).toString("base64") };
      await writePrivateFile(file, value);
      return siteKeyOf(seed);
    },
    remove: async () => await removePrivateFile(file),
  };
}
