import type { Server } from "node:http";
import { createSecrets, findSecrets } from "@shoal/upstream/testing";

/** Every login, password and token of this suite. What makes one puts it here; each daemon is searched for all. */
export const secrets = createSecrets();

/** A login that each daemon of the lab has and none needs: for a registry that is never asked. */
export const CANARY = {
  registry: "canary.invalid",
  username: "canary",
  password: "canary-password-7c1b94e2",
} as const;
secrets.addLogin(CANARY.username, CANARY.password);

const overheard: string[] = [];

/** Watches a server that no login is meant for; one that comes all the same fails the suite. */
export function expectNoLogins(server: Server, name: string): void {
  server.on("request", ({ headers, url }) => {
    for (const header of ["authorization", "proxy-authorization", "cookie"])
      if (headers[header] !== undefined) overheard.push(`${name}: ${header} with ${url}`);
  });
}

export interface Leavings {
  /** What it has written to its standard output and error. */
  readonly log: string;
  readonly state: string;
}

/**
 * Searches what a daemon leaves behind, its audit log in the state folder included, and what the suite's
 * servers have heard. @throws Error that names the places
 */
export async function expectNoSecrets({ log, state }: Leavings): Promise<void> {
  const found = [
    ...overheard,
    ...(await findSecrets(secrets.known, {
      texts: { log },
      folder: state,
      homes: ["site-token"],
    })),
  ];
  overheard.length = 0;
  if (found.length > 0) throw new Error(`secrets have got out: ${found.join("; ")}`);
}
