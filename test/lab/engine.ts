import type { Place } from "./lan.ts";
import { type Running, until } from "./processes.ts";
import { run } from "./run.ts";

/** Where an engine's mirror is, and the registry that it stands before. */
export interface EngineInit {
  readonly place: Place;
  /** State of the engine; a fresh one for each. */
  readonly folder: string;
  /** The registry's `address:port`. */
  readonly registry: string;
  /** `address:port` of Shoal's mirror; pulls go straight to the registry without it. */
  readonly mirror?: string;
  /** What the engine is to see as its own folder below `/etc`; its files say it all, and none are made here. */
  readonly settings?: string;
  /**
   * Skopeo and dockerd have the registry behind the mirror, too, as the others always do: Skopeo is set up as
   * Podman is, and dockerd finds Docker Hub at this address, over TLS.
   */
  readonly own?: { readonly address: string; readonly caFile: string };
}

export interface PullOptions {
  /** The engine is stopped then. @default 5 min */
  readonly timeoutMs?: number;
}

/** A container engine on a machine. */
export interface Engine extends AsyncDisposable {
  readonly name: string;
  /**
   * Pulls `repository:tag` or `repository@digest`, and tells what the engine has then: image id, or the digest
   * of all that it wrote.
   */
  pull(reference: string, options?: PullOptions): Promise<string>;
}

/** An engine whose images can be looked into. */
export interface OpenEngine extends Engine {
  /**
   * Digests of what it has of an image that it has pulled, made from the bytes: manifest, configuration, layers.
   * dockerd keeps no manifests: of that it is the digest which it has noted.
   */
  contents(reference: string): Promise<string[]>;
}

/** The registry as a path names it where there is no `ns=`: the grammar has no colon. */
export function inPath(registry: string): string {
  return registry.replace(":", "_");
}

/** A place where `folder`, or a file, is what programs see as `/etc/<name>`. */
export function placeWith(place: Place, name: string, folder: string | undefined): Place {
  if (folder === undefined) return place;
  const mount = ["mount", "--bind", folder, `/etc/${name}`];
  const shell = ["sh", "-c", `${mount.join(" ")} && exec "$@"`, "sh"];
  return { ...place, within: (argv) => place.within(["unshare", "--mount", ...shell, ...argv]) };
}

/** Waits until an engine's own client gets an answer from it. */
export async function engineReady(
  what: string,
  daemon: Running,
  probe: () => Promise<unknown>,
): Promise<void> {
  await until(
    `${what} answers`,
    async () => {
      if (!daemon.isRunning)
        throw new Error(`${what} ended: ${(await daemon.output()).slice(-2000)}`);
      return await probe().then(
        () => true,
        () => false,
      );
    },
    40_000,
  );
}

/** A probe that is a command. */
export function answers(...argv: readonly string[]): () => Promise<unknown> {
  return async () => await run(argv);
}
