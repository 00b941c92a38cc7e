/**
 * A member that asks another what a stranger asks it. Arguments: the other's `host:port`, the secret as JSON,
 * the site's token. Prints the answers in hex by the names of the questions, as JSON.
 */
import { createEphemeralIdentity, createNetwork, parseSiteToken } from "@shoal/network";
import { noMetrics, silentLogger, systemClock } from "@shoal/runtime";
import { questionsAbout, type Secret } from "./questions.ts";

const [address, secret, token] = process.argv.slice(2) as [string, string, string];
const network = createNetwork(
  {
    identity: await createEphemeralIdentity(),
    clock: systemClock,
    random: Math.random,
    logger: silentLogger,
    metrics: noMetrics,
  },
  { token: parseSiteToken(token), peers: [address] },
);
const met = Promise.withResolvers<Parameters<typeof network.request>[0]>();
network.on("memberUp", met.resolve);
await network.start();
const peer = await met.promise;
const heard: Record<string, string> = {};
for (const { name, lane, frame } of questionsAbout(JSON.parse(secret) as Secret))
  heard[name] = Buffer.from(await network.request(peer, lane, frame)).toString("hex");
console.log(JSON.stringify(heard));
await network[Symbol.asyncDispose]();
process.exit(0);
