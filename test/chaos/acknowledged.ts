import { setTimeout as delay } from "node:timers/promises";
import { createEphemeralIdentity, createNetwork } from "@shoal/network";
import { noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import type { LabDaemon } from "../lab/daemon.ts";
import type { Checks, Dice } from "./part.ts";

/** What the daemon has said yes to, and must know after any kill. */
export interface Acknowledged {
  /** Digests by name. */
  readonly pins: Map<string, string>;
  readonly unpinned: Set<string>;
  readonly revoked: Set<string>;
}

/** Has the daemon say yes to what it then must not forget, until it is gone. */
export async function acknowledge(
  daemon: LabDaemon,
  keep: string,
  known: Acknowledged,
  dice: Dice,
): Promise<void> {
  try {
    const { peer } = await daemon.api.site.revoke({ member: await strangersId() });
    known.revoked.add(peer);
    for (;;) {
      const pin = await daemon.api.store.pin({ name: keep }).catch((error: { code?: string }) => {
        if (/NOT_STORED/.test(error.code ?? "")) return undefined;
        throw error;
      });
      if (pin !== undefined) {
        known.pins.set(pin.name, pin.digest);
        break;
      }
      await delay(20);
    }
    if (known.pins.size < 2 || dice.float() < 0.6) return;
    const [name] = dice.some(1, [...known.pins.keys()]) as [string];
    // Until it is acknowledged, either would be right.
    known.pins.delete(name);
    await daemon.api.store.unpin({ name });
    known.unpinned.add(name);
  } catch {
    // The daemon is gone: what it has not said yes to, it may forget.
  }
}

async function strangersId(): Promise<string> {
  const identity = await createEphemeralIdentity();
  const components = { clock: systemClock, random: Math.random, logger: silentLogger };
  return createNetwork({ ...components, identity, metrics: noMetrics }).self;
}

/** Checks that a daemon which was killed knows all of it. */
export async function expectKnown(
  daemon: LabDaemon,
  known: Acknowledged,
  checks: Checks,
  what: string,
): Promise<void> {
  const pins = new Map((await daemon.api.store.pins()).map(({ name, digest }) => [name, digest]));
  for (const [name, digest] of known.pins)
    checks.expect(pins.get(name) === digest, `${what}: the pin of ${name} is lost`);
  for (const name of known.unpinned)
    checks.expect(!pins.has(name), `${what}: ${name} is pinned again`);
  const { members } = await daemon.api.site.members();
  const revoked = new Set(members.flatMap(({ peer, revokedAt }) => (revokedAt ? [peer] : [])));
  for (const peer of known.revoked)
    checks.expect(revoked.has(peer), `${what}: the revocation of ${peer} is lost`);
}
