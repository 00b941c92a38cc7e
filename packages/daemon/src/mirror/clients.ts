import type { Clock } from "@shoal/runtime";

/** Engines as they name themselves in `User-Agent`. */
const AGENTS: readonly (readonly [RegExp, string])[] = [
  [/^docker\//i, "docker"],
  [/^buildkit\//i, "buildkit"],
  [/^(cri-o|crio)\//i, "crio"],
  [/^(containers|podman|skopeo|buildah)\//i, "podman"],
  // What is made with containerd's library and has no name of its own: nerdctl, and what Docker before 23 builds.
  [/^containerd\/\S+\+unknown$/i, "containerd-library"],
  [/^containerd\//i, "containerd"],
];

/** Which engines have asked the mirror for an image, and when last. */
export interface ClientSightings {
  seen(userAgent: string | undefined): void;
  /** Since the daemon started, by name. */
  list(): readonly { readonly engine: string; readonly lastSeenMs: number }[];
}

/** The engine that a `User-Agent` names, one of few. */
export function engineOf(userAgent = ""): string {
  return AGENTS.find(([pattern]) => pattern.test(userAgent))?.[1] ?? "other";
}

export function createClientSightings(clock: Pick<Clock, "wallNow">): ClientSightings {
  // As many entries as there are names: what a client calls itself is never kept.
  const lastSeen = new Map<string, number>();
  return {
    seen(userAgent) {
      lastSeen.set(engineOf(userAgent), clock.wallNow());
    },
    list: () =>
      [...lastSeen]
        .map(([engine, lastSeenMs]) => ({ engine, lastSeenMs }))
        .toSorted((a, b) => (a.engine < b.engine ? -1 : 1)),
  };
}
