import { hostname } from "node:os";
import type { Certificate } from "@shoal/network";
import type { Logger } from "@shoal/runtime";
import type { RecordTable } from "@shoal/store";
import * as z from "zod";

/** More than a site has members, so that those that are gone are known by name for a while. */
const MAX_MEMBERS = 1000;

const RecordSchema = z.object({
  /** Where it is a member; absent in what was kept before sites were told apart. */
  site: z.string().optional(),
  name: z.string(),
  roles: z.array(z.string()),
  issuedAtMs: z.number(),
  notAfterMs: z.number(),
});
export type KnownMember = z.infer<typeof RecordSchema> & { readonly peer: string };

/** Members of this machine's site whose certificates it has seen or given, online or not. */
export interface KnownMembers {
  saw(
    certificate: Pick<
      Certificate,
      "site" | "peer" | "name" | "roles" | "issuedAtMs" | "notAfterMs"
    >,
  ): void;
  list(): readonly KnownMember[];
  /** The name, or one that nobody else has. */
  freeName(name: string, peer: string): string;
}

/** @param site the one that this machine is in */
export async function loadKnownMembers(
  table: RecordTable<z.infer<typeof RecordSchema>>,
  logger: Logger,
  site: () => string,
): Promise<KnownMembers> {
  const members = new Map<string, KnownMember>();
  for await (const [peer, value] of table.entries()) {
    const parsed = RecordSchema.safeParse(value);
    if (parsed.success) members.set(peer, { ...parsed.data, peer });
  }

  function failed(error: unknown): void {
    logger.warn({ error }, "the names of members could not be written");
  }

  function forgetOldest(): void {
    if (members.size <= MAX_MEMBERS) return;
    const [oldest] = [...members.values()].sort((a, b) => a.notAfterMs - b.notAfterMs);
    members.delete(oldest!.peer);
    table.delete(oldest!.peer).catch(failed);
  }

  function ofThisSite(): KnownMember[] {
    const current = site();
    return [...members.values()].filter((each) => (each.site ?? current) === current);
  }

  return {
    saw({ site: of, peer, name, roles, issuedAtMs, notAfterMs }) {
      const last = members.get(peer);
      if (last !== undefined && (last.site ?? of) === of && issuedAtMs <= last.issuedAtMs) return;
      const record = { site: of, name, roles: [...roles], issuedAtMs, notAfterMs };
      members.set(peer, { ...record, peer });
      table.put(peer, record).catch(failed);
      forgetOldest();
    },
    list: () => ofThisSite().sort((a, b) => (a.name < b.name ? -1 : 1)),
    freeName(name, peer) {
      const taken = ofThisSite().some((each) => each.name === name && each.peer !== peer);
      return taken ? `${name.slice(0, 57)}-${peer.slice(-6)}` : name;
    },
  };
}

/** What this machine is called unless it is told otherwise. */
export function machineName(): string {
  return (
    hostname()
      .replaceAll(/[^A-Za-z0-9._-]/g, "-")
      .slice(0, 64) || "machine"
  );
}
