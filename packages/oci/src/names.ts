import { isIPv6 } from "node:net";
import { CodedError } from "@shoal/runtime";
import type { RegistryHost, Repository, RepositoryName, Tag } from "./types.ts";

const LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
const HOST = new RegExp(`^(?:${LABEL}(?:\\.${LABEL})*|\\[[0-9a-f:.]{2,45}\\])(?::[0-9]{1,5})?$`);
const COMPONENT = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
const REPOSITORY = new RegExp(`^${COMPONENT}(?:/${COMPONENT})*$`);
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;

const MAX_HOST_LENGTH = 259;
const MAX_REPOSITORY_LENGTH = 255;

/** The canonical name of Docker Hub. */
export const DOCKER_HUB = "docker.io" as RegistryHost;
const DOCKER_HUB_NAMES = new Set(["docker.io", "index.docker.io", "registry-1.docker.io"]);

function shown(text: string): string {
  return JSON.stringify(text.length > 160 ? `${text.slice(0, 160)}…` : text);
}

/** Whether `text` is a registry's host: a lower-case name or an address, with or without a port. */
export function isRegistryHost(text: string): text is RegistryHost {
  if (text.length > MAX_HOST_LENGTH || !HOST.test(text)) return false;
  const address = /^\[(.*)\]/.exec(text)?.[1];
  if (address !== undefined && !isIPv6(address)) return false;
  const port = /:([0-9]+)$/.exec(text.replace(/^\[.*\]/, ""))?.[1];
  return port === undefined || (Number(port) >= 1 && Number(port) <= 65_535);
}

/** Parses a registry's host; every name of Docker Hub becomes `docker.io`. @throws ERR_REGISTRY_INVALID */
export function parseRegistryHost(text: string): RegistryHost {
  const lower = text.toLowerCase();
  if (DOCKER_HUB_NAMES.has(lower)) return DOCKER_HUB;
  if (isRegistryHost(lower)) return lower;
  throw new CodedError(
    "ERR_REGISTRY_INVALID",
    `not a registry: ${shown(text)}; write a host name or address, with :PORT where it has one`,
  );
}

/** Parses `<name>` of the distribution spec, section "Pulling manifests". @throws ERR_REPOSITORY_INVALID */
export function parseRepositoryName(text: string): RepositoryName {
  if (text.length <= MAX_REPOSITORY_LENGTH && REPOSITORY.test(text)) return text as RepositoryName;
  const hint =
    text.toLowerCase() !== text
      ? "a repository is written in lower case"
      : "write lower-case letters, digits and single . _ - or / between them";
  throw new CodedError("ERR_REPOSITORY_INVALID", `not a repository: ${shown(text)}; ${hint}`);
}

export function isTag(text: string): text is Tag {
  return TAG.test(text);
}

/** Parses a tag of the distribution spec. @throws ERR_TAG_INVALID */
export function parseTag(text: string): Tag {
  if (isTag(text)) return text;
  throw new CodedError(
    "ERR_TAG_INVALID",
    `not a tag: ${shown(text)}; write at most 128 letters, digits and _ . -, not beginning with . or -`,
  );
}

/** `registry/name`, as messages and records name a repository. */
export function formatRepository(repository: Repository): string {
  return `${repository.registry}/${repository.name}`;
}

/** The host that answers the API for a registry: Docker Hub's is another than its name. */
export function registryApiHost(registry: RegistryHost): string {
  return registry === DOCKER_HUB ? "registry-1.docker.io" : registry;
}

/** Docker Hub's official images are `library/<name>`. */
export function withLibrary(registry: RegistryHost, name: string): string {
  return registry === DOCKER_HUB && !name.includes("/") ? `library/${name}` : name;
}
