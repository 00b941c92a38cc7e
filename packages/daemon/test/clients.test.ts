import { expect, test } from "vitest";
import { createClientSightings } from "../src/mirror/clients.ts";

test.each([
  ["docker/20.10.24+dfsg1 go/go1.19.8 UpstreamClient(Docker-Client/20.10.24)", "docker"],
  ["docker/29.0.0 containerd-client/2.1.0 storage-driver/overlayfs", "docker"],
  ["containerd/1.6.20~ds1", "containerd"],
  ["containerd/v1.7.21-k3s2", "containerd"],
  ["containers/5.23.1 (github.com/containers/image)", "podman"],
  ["skopeo/1.9.3", "podman"],
  ["Buildah/1.28.2", "podman"],
  ["cri-o/1.31.0 go/go1.22.6 os/linux arch/amd64", "crio"],
  ["buildkit/v0.12.5", "buildkit"],
  ["curl/8.0", "other"],
  [undefined, "other"],
])("%s is %s", (userAgent, engine) => {
  const clients = createClientSightings({ wallNow: () => 7 });
  clients.seen(userAgent);
  expect(clients.list()).toEqual([{ engine, lastSeenMs: 7 }]);
});
