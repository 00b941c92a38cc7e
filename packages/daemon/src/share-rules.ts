import {
  parseRegistryHost,
  parseRepositoryName,
  type RegistryHost,
  type Repository,
  withLibrary,
} from "@shoal/oci";
import type { Configuration } from "./configuration.ts";

type Rule = Configuration["share"][number];

/**
 * Says of each repository what members may exchange of it. The first rule that fits counts, without one it
 * is everything, `site`. Rules are read as people write references: any spelling of a registry's
 * name, and `alpine` of docker.io is `library/alpine`; a rule must not fail to protect for its spelling.
 */
export function createShareRules(
  rules: readonly Rule[],
): (repository: Pick<Repository, "registry" | "name">) => Rule["share"] {
  const parsed = rules.map(({ registry, repository, share }) => ({
    registry: parseRegistryHost(registry),
    covers: coverage(parseRegistryHost(registry), repository),
    share,
  }));
  return ({ registry, name }) =>
    parsed.find((rule) => rule.registry === registry && rule.covers(name))?.share ?? "site";
}

function coverage(registry: RegistryHost, pattern: string | undefined): (name: string) => boolean {
  if (pattern === undefined) return () => true;
  if (pattern.endsWith("/*")) return (name) => name.startsWith(pattern.slice(0, -1));
  // Never by way of a reference, in which a host without a dot would be a folder of Docker Hub.
  const whole = parseRepositoryName(withLibrary(registry, pattern));
  return (name) => name === whole;
}
