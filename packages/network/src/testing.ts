/**
 * What every implementation of the engine's transport has to keep, as a suite of tests.
 *
 * ```ts
 * transportConformance("in memory", async () => await createPairOfTransports());
 * ```
 *
 * @packageDocumentation
 */
import { setTimeout as delay } from "node:timers/promises";
import type { PeerTransport } from "@shoal/swarm";
import { describe, expect, it } from "vitest";

/** Two members of one site that have met, without handlers. */
export interface TransportPair extends AsyncDisposable {
  readonly a: PeerTransport;
  readonly b: PeerTransport;
  /** Takes b away as the death of its process does. */
  killB(): Promise<void>;
}

const LANES = ["control", "bulk"] as const;
const MIB = 1024 * 1024;
const ABSENT = { code: "ERR_PEER_UNREACHABLE" };

/** Declares the tests of an implementation of `PeerTransport`. */
export function transportConformance(name: string, createPair: () => Promise<TransportPair>): void {
  describe(`transport: ${name}`, () => {
    it("lists its members without itself", async () => {
      await using pair = await createPair();
      expect(pair.a.members()).toEqual([pair.b.self]);
      expect(pair.b.members()).toEqual([pair.a.self]);
    });

    it("joins the parts of an answer, and tells the handler who asks on which lane", async () => {
      await using pair = await createPair();
      pair.b.handle(async (peer, lane, frame) => [Buffer.from(`${peer} ${lane} `), frame]);
      for (const lane of LANES) {
        const answer = await pair.a.request(pair.b.self, lane, Buffer.from("question"));
        expect(Buffer.from(answer).toString()).toBe(`${pair.a.self} ${lane} question`);
      }
    });

    it("carries frames of no bytes", async () => {
      await using pair = await createPair();
      pair.b.handle(async () => []);
      for (const lane of LANES)
        expect(await pair.a.request(pair.b.self, lane, new Uint8Array())).toHaveLength(0);
    });

    it("carries frames up to the limits of both lanes", async () => {
      await using pair = await createPair();
      pair.b.handle(async (_peer, lane, frame) => [frame, new Uint8Array(sizes[lane].rest)]);
      const sizes = {
        control: { ask: 128 * 1024, rest: 128 * 1024 },
        bulk: { ask: 4096, rest: MIB },
      };
      for (const lane of LANES) {
        const { ask, rest } = sizes[lane];
        const answer = await pair.a.request(pair.b.self, lane, new Uint8Array(ask).fill(5));
        expect(answer.length).toBe(ask + rest);
        expect(answer[ask - 1]).toBe(5);
        expect(answer[ask]).toBe(0);
      }
    });

    it("lets requests wait until there is a handler", async () => {
      await using pair = await createPair();
      const answer = pair.a.request(pair.b.self, "control", Buffer.from("early"));
      await delay(20);
      pair.b.handle(async (_peer, _lane, frame) => [frame]);
      expect(Buffer.from(await answer).toString()).toBe("early");
    });

    it("rejects with the signal's reason, and carries the next request", async () => {
      await using pair = await createPair();
      const stalled = Promise.withResolvers<readonly Uint8Array[]>();
      pair.b.handle(async (_peer, _lane, frame) =>
        frame.length === 1 ? await stalled.promise : [frame],
      );
      const reason = new Error("enough");
      const controller = new AbortController();
      const given = Array.from({ length: 20 }, async () => {
        const { signal } = controller;
        return await pair.a.request(pair.b.self, "bulk", new Uint8Array(1), { signal });
      });
      await delay(50);
      controller.abort(reason);
      for (const result of await Promise.allSettled(given))
        expect(result).toEqual({ status: "rejected", reason });
      expect(await pair.a.request(pair.b.self, "bulk", new Uint8Array(2))).toHaveLength(2);
      const { signal } = controller;
      const late = pair.a.request(pair.b.self, "control", new Uint8Array(2), { signal });
      await expect(late).rejects.toBe(reason);
    });

    it("is unreachable to a request whose handler fails, and only to that one", async () => {
      await using pair = await createPair();
      pair.b.handle(async (_peer, _lane, frame) => {
        if (frame.length === 1) throw new Error("no");
        return [frame];
      });
      const failing = pair.a.request(pair.b.self, "control", new Uint8Array(1));
      await expect(failing).rejects.toMatchObject(ABSENT);
      expect(await pair.a.request(pair.b.self, "control", new Uint8Array(2))).toHaveLength(2);
      expect(pair.a.members()).toEqual([pair.b.self]);
    });

    it("tells of a member's death within a second, and fails what it was asked", async () => {
      await using pair = await createPair();
      pair.b.handle(async () => await new Promise<never>(() => undefined));
      const down = Promise.withResolvers<string>();
      using _listener = pair.a.on("memberDown", (peer) => down.resolve(peer));
      const open = pair.a.request(pair.b.self, "bulk", new Uint8Array(1));
      const failed = expect(open).rejects.toMatchObject(ABSENT);
      await delay(20);
      const startMs = performance.now();
      await pair.killB();
      expect(await down.promise).toBe(pair.b.self);
      expect(performance.now() - startMs).toBeLessThan(1000);
      await failed;
      expect(pair.a.members()).toEqual([]);
      const after = pair.a.request(pair.b.self, "control", new Uint8Array(1));
      await expect(after).rejects.toMatchObject(ABSENT);
    });

    it("signs so that only its own signature over that message holds", async () => {
      await using pair = await createPair();
      const message = Buffer.from("message");
      const signature = await pair.a.sign(message);
      expect(await pair.b.verify(pair.a.self, message, signature)).toBe(true);
      expect(await pair.b.verify(pair.b.self, message, signature)).toBe(false);
      expect(await pair.b.verify(pair.a.self, Buffer.from("other"), signature)).toBe(false);
      expect(await pair.b.verify(pair.a.self, message, new Uint8Array(64))).toBe(false);
      expect(await pair.b.verify(pair.a.self, message, new Uint8Array())).toBe(false);
    });
  });
}
