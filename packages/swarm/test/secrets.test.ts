import { setTimeout as delay } from "node:timers/promises";
import { parseTag } from "@shoal/oci";
import { noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import { createUpstream, type Upstream } from "@shoal/upstream";
import {
  createQuirkyRegistry,
  QUIRKY_REGISTRIES,
  type RegistryQuirk,
} from "@shoal/upstream/testing";
import { describe, expect, it } from "vitest";
import type { PeerTransport } from "../src/index.ts";
import { createMemorySite } from "../src/testing.ts";
import { createMember } from "./support.ts";

const TAG = parseTag("v1");
const guarded = QUIRKY_REGISTRIES.filter(({ auth }) => auth !== undefined);

/** The transport, with every frame that goes through it, either way. */
function recording(transport: PeerTransport, frames: Uint8Array[]): PeerTransport {
  return {
    ...transport,
    members: () => transport.members(),
    async request(peer, lane, frame, options) {
      frames.push(frame);
      const answer = await transport.request(peer, lane, frame, options);
      frames.push(answer);
      return answer;
    },
  };
}

function upstreamOf(registry: string, { login }: RegistryQuirk): Upstream {
  return createUpstream(
    { clock: systemClock, logger: silentLogger, metrics: noMetrics },
    {
      userAgent: "shoal/test",
      registries: { [registry]: { allowPrivate: true } },
      credentials: { find: async () => login },
    },
  );
}

describe.each(guarded.map((quirk) => [quirk.name, quirk] as const))("%s", (_name, quirk) => {
  it("is pulled from by a site without a login in any member's frame", async () => {
    await using quirky = await createQuirkyRegistry(quirk);
    const { registry, cdn } = quirky;
    const { repository, layers, manifest } = registry.addImage("team/app", "v1", [600_000]);
    for (const { bytes } of layers) cdn.addBlob(bytes);
    const site = createMemorySite();
    const frames: Uint8Array[] = [];
    await using stack = new AsyncDisposableStack();
    const members = [];
    for (const name of ["one", "two", "three"]) {
      const upstream = stack.use(upstreamOf(registry.registry, quirk));
      const transport = recording(site.join(name), frames);
      members.push(stack.use(await createMember(upstream, transport)));
    }
    await delay(150);
    const [{ digest, bytes }] = layers as [(typeof layers)[number]];
    await Promise.all(
      members.map(async ({ swarm }) => {
        const found = await swarm.resolve(repository, TAG);
        expect(Buffer.compare(found.bytes, manifest)).toBe(0);
        await using blob = await swarm.open({ digest, repository, sizeBytes: bytes.length });
        const chunks: Uint8Array[] = [];
        for await (const chunk of blob.stream()) chunks.push(chunk);
        expect(Buffer.concat(chunks).equals(bytes)).toBe(true);
      }),
    );
    const wire = Buffer.concat(frames).toString("latin1");
    expect(wire).toContain("team/app");
    for (const secret of quirky.secrets()) expect(wire.includes(secret)).toBe(false);
    for (const { headers } of cdn.requests) expect(headers).not.toHaveProperty("authorization");
  });
});
