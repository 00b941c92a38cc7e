import { isFinished, type Pull, type Verification } from "@shoal/api";
import type { LabDaemon } from "../lab/daemon.ts";
import { until } from "../lab/processes.ts";

/** Waits for the end of a pull, which a daemon that was killed may not have noted: then it is asked for again. */
export async function ended(
  daemon: LabDaemon,
  id: string,
  reference: string,
  limitMs = 60_000,
): Promise<Pull> {
  let current = id;
  let last: Pull | undefined;
  await until(
    `the pull of ${reference} has ended`,
    async () => {
      last = current === "" ? undefined : await pullOf(daemon, current);
      if (last !== undefined) return isFinished(last);
      current = (await daemon.api.startPull({ reference })).id;
      return false;
    },
    limitMs,
  );
  return last!;
}

async function pullOf(daemon: LabDaemon, id: string): Promise<Pull | undefined> {
  try {
    return await daemon.api.pull(id);
  } catch (error) {
    if ((error as { code?: string }).code === "ERR_PULL_NOT_FOUND") return undefined;
    throw error;
  }
}

/** Reads every blob of a daemon's store again. */
export async function verified(daemon: LabDaemon): Promise<Verification> {
  let verification = await daemon.api.store.startVerification();
  await until("the store is verified", async () => {
    verification = await daemon.api.store.verification();
    return verification.finishedAt !== undefined;
  });
  return verification;
}
