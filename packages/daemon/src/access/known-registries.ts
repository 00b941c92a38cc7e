import { parseRegistryHost, type RegistryHost } from "@shoal/oci";

/** Public registries whose word is believed: nobody has them say that they have what they don't. */
const PUBLIC = [
  "docker.io",
  "gcr.io",
  "ghcr.io",
  "mcr.microsoft.com",
  "public.ecr.aws",
  "quay.io",
  "registry.gitlab.com",
  "registry.k8s.io",
];

/** Says which registries are known: public ones, and those that are configured. */
export function createKnownRegistries(
  configured: Iterable<string>,
): (registry: RegistryHost) => boolean {
  const known = new Set([...PUBLIC, ...configured].map((host) => parseRegistryHost(host)));
  return (registry) => known.has(registry);
}
