import { describe, expect, it } from "vitest";
import { coldStart } from "../../bench/cold-start.ts";
import { lostCoordinator } from "../../bench/failures.ts";
import { prepareLab } from "../lab/install.ts";

const skipped = await prepareLab(["ip", "nsenter", "curl", "docker-registry", "skopeo"]);
/** Bytes count here, not time: rates are low enough for a busy machine. */
const options = { uplinkMbit: 50, lanMbit: 200, layers: 1, rounds: 1, client: "api" } as const;

describe.skipIf(skipped !== undefined)("what crosses the uplink", () => {
  it("is one copy when ten machines start at once", { timeout: 90_000 }, async () => {
    const result = await coldStart({ ...options, nodes: 10, sizeMib: 32 });
    console.log(`egress ${result.egressRatio.toFixed(4)} × one direct pull`);
    expect(result.checks).toEqual({ "every blob is right": true });
    expect(result.egressRatio).toBeLessThanOrEqual(1.1);
  });

  it("is little more when the coordinator and its stand-in are killed", {
    timeout: 90_000,
  }, async () => {
    const result = await lostCoordinator({ ...options, nodes: 6, sizeMib: 32 });
    console.log(`egress ${result.egressRatio.toFixed(4)} × one direct pull`);
    expect(result.checks).toEqual({
      "all others are right": true,
      "both were killed on the way": true,
    });
    expect(result.egressRatio).toBeLessThanOrEqual(1.25);
  });
});
