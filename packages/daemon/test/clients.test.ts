import { expect, test } from "vitest";
import { createClientSightings } from "../src/mirror/clients.ts";

/** As they arrived from the engines of Debian 12, which test/interop/setup.test.ts runs. */
const SEEN = [
  [
    "docker/20.10.24+dfsg1 go/go1.19.8 git-commit/5d6db84 kernel/6.1.0 os/linux arch/amd64 UpstreamClient(Docker-Client/20.10.24+dfsg1 \\(linux\\))",
    "docker",
  ],
  // The BuildKit inside of that Docker.
  ["containerd/1.6.20+unknown", "containerd-library"],
  // ctr, and containerd's CRI plugin.
  ["containerd/1.6.20~ds1", "containerd"],
  ["containers/5.23.1 (github.com/containers/image)", "podman"],
  ["skopeo/1.9.3", "podman"],
  ["Buildah/1.28.2", "podman"],
] as const;

/** As others say that they call themselves. */
const TOLD = [
  ["docker/29.0.0 containerd-client/2.1.0 storage-driver/overlayfs", "docker"],
  ["containerd/v1.7.21-k3s2", "containerd"],
  ["containerd/v2.1.4", "containerd"],
  ["cri-o/1.31.0 go/go1.22.6 os/linux arch/amd64", "crio"],
  ["buildkit/v0.12.5", "buildkit"],
  ["curl/8.0", "other"],
  [undefined, "other"],
] as const;

test.each([...SEEN, ...TOLD])("%s is %s", (userAgent, engine) => {
  const clients = createClientSightings({ wallNow: () => 7 });
  clients.seen(userAgent);
  expect(clients.list()).toEqual([{ engine, lastSeenMs: 7 }]);
});
