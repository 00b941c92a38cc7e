import type { FuzzTarget } from "./target.ts";
import { API_TARGETS } from "./targets/api.ts";
import { CLI_TARGETS } from "./targets/cli.ts";
import { DAEMON_TARGETS } from "./targets/daemon.ts";
import { NETWORK_TARGETS } from "./targets/network.ts";
import { OCI_TARGETS } from "./targets/oci.ts";
import { STORE_TARGETS } from "./targets/store.ts";
import { SWARM_TARGETS } from "./targets/swarm.ts";
import { UPSTREAM_TARGETS } from "./targets/upstream.ts";

/** Every parser and decoder of what others have written. */
export const FUZZ_TARGETS: readonly FuzzTarget[] = [
  ...OCI_TARGETS,
  ...UPSTREAM_TARGETS,
  ...SWARM_TARGETS,
  ...NETWORK_TARGETS,
  ...API_TARGETS,
  ...DAEMON_TARGETS,
  ...STORE_TARGETS,
  ...CLI_TARGETS,
];
