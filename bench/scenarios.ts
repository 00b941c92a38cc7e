import { coldStart, manyLayers, rolling, staggered } from "./cold-start.ts";
import { lostCoordinator, partition, slowLessee } from "./failures.ts";
import { heads } from "./heads.ts";
import { idle } from "./idle.ts";
import { liar, slyLiar } from "./liars.ts";
import { overhead } from "./overhead.ts";
import type { Scenario } from "./result.ts";
import { serve } from "./serve.ts";
import { localHit, manyHolders, warmPeer } from "./warm.ts";
import { zones } from "./zones.ts";

const CROWD = { uplinkMbit: 50, lanMbit: 200 };

/** By name. */
export const SCENARIOS: Readonly<Record<string, Scenario>> = {
  "cold-start": { what: "all pull at once", defaults: CROWD, run: coldStart },
  staggered: { what: "a second half joins at half time", defaults: CROWD, run: staggered },
  rolling: { what: "one after another", defaults: CROWD, run: rolling },
  "warm-peer": { what: "one from one that has it, links unshaped", run: warmPeer },
  "many-holders": { what: "one from four that have it, links unshaped", run: manyHolders },
  overhead: { what: "alone, against a direct pull", run: overhead },
  "local-hit": { what: "what is here already, against docker-registry", run: localHit },
  serve: {
    what: "what is here already, to skopeo and ctr, against docker-registry",
    defaults: { rounds: 5 },
    run: serve,
  },
  heads: {
    what: "HEADs of a manifest a second, on one core",
    defaults: { sizeMib: 1 },
    run: heads,
  },
  "many-layers": {
    what: "layers of 10 KiB to 8 MiB, all pull at once",
    defaults: { ...CROWD, layers: 40 },
    run: manyLayers,
  },
  zones: { what: "two racks, each behind a link of its own", defaults: CROWD, run: zones },
  idle: {
    what: "memory, CPU time and messages of a quiet site",
    defaults: { nodes: 20 },
    run: idle,
  },
  "lost-coordinator": {
    what: "the coordinator is killed at 30 %, its stand-in at 60 %",
    defaults: CROWD,
    run: lostCoordinator,
  },
  liar: { what: "one lies in whatever it attests", defaults: CROWD, run: liar },
  "sly-liar": { what: "one lies in one piece", defaults: CROWD, run: slyLiar },
  "slow-lessee": {
    what: "one gets 64 KiB/s from the registry",
    defaults: CROWD,
    run: slowLessee,
  },
  partition: { what: "two halves from 30 % on until 60 %", defaults: CROWD, run: partition },
};
