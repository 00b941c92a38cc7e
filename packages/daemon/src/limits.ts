import { type Limits, type LimitsChange, parseRate } from "@shoal/api";
import type { Swarm, SwarmInit } from "@shoal/swarm";
import type { Configuration } from "./configuration.ts";

/** The limits to start with. */
export function configuredLimits({
  uplink,
  lan,
}: Pick<Configuration, "uplink" | "lan">): Pick<SwarmInit, "uplink" | "uploadBytesPerSecond"> {
  const bytesPerSecond = parseRate(uplink.limit) ?? undefined;
  const uploadBytesPerSecond = parseRate(lan.uploadLimit) ?? undefined;
  return {
    uplink: {
      ...(bytesPerSecond === undefined ? {} : { bytesPerSecond }),
      ...(uplink.connections === 0 ? {} : { connections: uplink.connections }),
    },
    ...(uploadBytesPerSecond === undefined ? {} : { uploadBytesPerSecond }),
  };
}

/** The limits in force, as the API tells them. */
export function limitsOf(swarm: Pick<Swarm, "limits">): Limits {
  const { bytesPerSecond, connections, uploadBytesPerSecond, set } = swarm.limits();
  return {
    ...(bytesPerSecond === undefined ? {} : { uplinkBytesPerSecond: bytesPerSecond }),
    ...(connections === undefined ? {} : { uplinkConnections: connections }),
    ...(uploadBytesPerSecond === undefined
      ? {}
      : { lanUploadBytesPerSecond: uploadBytesPerSecond }),
    ...(set === undefined ? {} : { set: { at: new Date(set.setAtMs).toISOString(), by: set.by } }),
  };
}

export function changeLimits(swarm: Pick<Swarm, "setLimits">, change: LimitsChange): void {
  const { uplinkBytesPerSecond, uplinkConnections, lanUploadBytesPerSecond } = change;
  swarm.setLimits({
    ...(uplinkBytesPerSecond === undefined ? {} : { bytesPerSecond: uplinkBytesPerSecond }),
    ...(uplinkConnections === undefined ? {} : { connections: uplinkConnections }),
    ...(lanUploadBytesPerSecond === undefined
      ? {}
      : { uploadBytesPerSecond: lanUploadBytesPerSecond }),
  });
}
