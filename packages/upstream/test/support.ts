import { noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import { createUpstream, type Upstream, type UpstreamInit } from "../src/index.ts";
import type { ScriptedRegistry } from "../src/testing.ts";

/** An upstream that trusts these registries, with waits short enough for a test. */
export function upstreamFor(
  registries: readonly ScriptedRegistry[],
  init: Partial<UpstreamInit> = {},
): Upstream {
  return createUpstream(
    { clock: systemClock, logger: silentLogger, metrics: noMetrics },
    {
      userAgent: "shoal/test",
      retry: { tries: 3, baseMs: 2 },
      ...init,
      registries: {
        ...Object.fromEntries(registries.map(({ registry }) => [registry, {}])),
        ...init.registries,
      },
    },
  );
}

export async function collect(body: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks);
}
