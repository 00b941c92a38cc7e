import { join } from "node:path";
import { NODE } from "../test/lab/daemon.ts";
import type { Place } from "../test/lab/lan.ts";
import { start, until } from "../test/lab/processes.ts";
import { run } from "../test/lab/run.ts";

const TCP = new URL("../test/lab/tcp.ts", import.meta.url).pathname;
const PORT = 5099;
const MIB = 1024 * 1024;

export interface Transfer {
  readonly bytes: number;
  readonly seconds: number;
  /** Of the sender and the receiver together. */
  readonly cpuSeconds: number;
}

/** One TCP connection between two processes; with a file, the receiver hashes and writes what it gets. */
export async function transfer(
  from: Place,
  to: Place,
  init: {
    readonly bytes: number;
    readonly skipBytes?: number;
    readonly file?: string;
    readonly folder: string;
  },
): Promise<Transfer> {
  const send = from.within([NODE, TCP, "send", `${PORT}`, `${init.bytes}`]);
  const outputFile = join(init.folder, `tcp-${count++}.log`);
  await using sender = start(send, { outputFile });
  await until("the sender listens", async () => (await sender.output()).includes("ready"));
  const receive = [NODE, TCP, "receive", from.address, `${PORT}`, `${init.skipBytes ?? 0}`];
  const text = await run(to.within(init.file === undefined ? receive : [...receive, init.file]));
  await sender.exited;
  const sent = JSON.parse((await sender.output()).split("\n")[1]!) as { cpuSeconds: number };
  const received = JSON.parse(text) as Transfer;
  return { ...received, cpuSeconds: received.cpuSeconds + sent.cpuSeconds };
}

let count = 0;

/** What one connection gets over a shaped link. What the shaper lets through at once at first counts for nothing. */
export async function goodputMbit(
  from: Place,
  to: Place,
  mbit: number,
  folder: string,
): Promise<number> {
  const skipBytes = MIB;
  const bytes = skipBytes + Math.ceil((mbit * 1_000_000 * 3) / 8);
  const measured = await transfer(from, to, { bytes, skipBytes, folder });
  return (measured.bytes * 8) / 1_000_000 / measured.seconds;
}
