/** Where a running daemon is reached. */
export interface Places {
  readonly mirror: readonly string[];
  readonly socket: string;
  readonly swarm: readonly string[];
  readonly metrics: readonly string[];
  readonly state: string;
  readonly inSite: boolean;
}

/** What a person who has just started the daemon needs: where it listens, and lines to paste. */
export function welcome(places: Places): string {
  const mirror = places.mirror[0] ?? "127.0.0.1:5055";
  const site = places.inSite
    ? `  swarm    ${places.swarm.join(", ") || "–"}`
    : "  swarm    off: this machine shares with nobody yet. `npm run -s shoal -- token` makes a site and\n           prints its token, `npm run -s shoal -- join` on another machine joins it.";
  return `Shoal is running.
  mirror   ${places.mirror.map((address) => `http://${address}`).join(", ")}
  socket   ${places.socket}
  metrics  ${places.metrics.map((address) => `http://${address}/metrics`).join(", ")}
  state    ${places.state}
${site}

Docker: in /etc/docker/daemon.json, then restart Docker
  { "registry-mirrors": ["http://${mirror}"] }

containerd: in /etc/containerd/certs.d/_default/hosts.toml (config_path must name /etc/containerd/certs.d)
  [host."http://${mirror}"]
    capabilities = ["pull", "resolve"]

Podman, CRI-O, Buildah, Skopeo: in /etc/containers/registries.conf.d/shoal.conf, for each registry
  [[registry]]
  prefix = "docker.io"
  location = "docker.io"
  [[registry.mirror]]
  location = "${mirror}/docker.io"
  insecure = true
For a registry with a port, such as registry.lab:5000, the mirror is ${mirror}/registry.lab_5000.

`;
}
