import { createSocket } from "node:dgram";
import { once } from "node:events";
import { isIP, isIPv4 } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { silentLogger } from "@shoal/runtime";
import { createManualClock } from "@shoal/runtime/testing";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { interfaceRule, ownAddresses } from "../src/interfaces.ts";
import { sightingOf, startMdns } from "../src/mdns.ts";

const TAG = "_shoal-0123456789._udp.local";
const PEER = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
const interfaces = () => ownAddresses(interfaceRule({})).filter(({ address }) => isIPv4(address));
const HAS_INTERFACE = interfaces().some(({ internal }) => !internal);
const ptr = { name: TAG, type: "PTR", class: "IN", ttl: 120, data: `x.${TAG}` } as const;
const txt = (data: string) => ({
  name: `x.${TAG}`,
  type: "TXT" as const,
  ttl: 120,
  data: [Buffer.from(data)],
});

describe("mDNS", () => {
  it("reads an answer as libp2p's own implementations write it", () => {
    const sighting = sightingOf(
      {
        answers: [ptr],
        additionals: [
          txt(`dnsaddr=/ip4/10.0.0.7/tcp/5056/p2p/${PEER}`),
          txt(`dnsaddr=/ip6/fd00::7/tcp/5056/p2p/${PEER}`),
          txt(`dnsaddr=/ip4/10.0.0.7/udp/5056/quic-v1/p2p/${PEER}`),
          txt("dnsaddr=/ip4/10.0.0.8/tcp/5056/p2p/12D3KooWother"),
          txt("other=text"),
        ],
      },
      TAG,
    );
    expect(sighting).toEqual({
      peer: PEER,
      endpoints: [
        { host: "10.0.0.7", port: 5056 },
        { host: "fd00::7", port: 5056 },
      ],
    });
  });

  it.skipIf(!HAS_INTERFACE)("tells that it is spoken nowhere while its port is taken", async () => {
    const holder = createSocket("udp4");
    holder.bind(0, "0.0.0.0");
    await once(holder, "listening");
    const clock = createManualClock();
    await using mdns = startMdns(
      { clock, random: () => 0.5, logger: silentLogger },
      {
        serviceTag: TAG,
        port: holder.address().port,
        addresses: () => [],
        interfaces,
        members: () => 0,
        onSighting: () => undefined,
      },
    );
    await expect.poll(() => mdns.interfaces).toBe(0);
    clock.advance(1000);
    expect(mdns.interfaces).toBe(0);
    await delay(50);
    holder.close();
    await once(holder, "close");
    clock.advance(15_000);
    await expect.poll(() => mdns.interfaces).toBeGreaterThan(0);
  });

  it("passes over another site's answers, and those without an address", () => {
    const address = txt(`dnsaddr=/ip4/10.0.0.7/tcp/5056/p2p/${PEER}`);
    expect(sightingOf({ answers: [ptr, address], additionals: [] }, "_other._udp.local")).toBe(
      undefined,
    );
    expect(sightingOf({ answers: [ptr], additionals: [] }, TAG)).toBe(undefined);
    expect(sightingOf({ answers: [address], additionals: [] }, TAG)).toBe(undefined);
  });

  it("takes any text for an address, and gives only those that can be dialled", () => {
    const piece = fc.constantFrom("dnsaddr=", "/ip4/", "/tcp/", "/p2p/", PEER, "1", "10.0.0.7");
    const text = fc.oneof(
      fc.string(),
      fc.array(piece).map((pieces) => pieces.join("")),
    );
    fc.assert(
      fc.property(fc.array(text), (texts) => {
        const seen = sightingOf({ answers: [ptr], additionals: texts.map(txt) }, TAG);
        for (const { host, port } of seen?.endpoints ?? []) {
          expect(isIP(host)).toBeGreaterThan(0);
          expect(port).toBeGreaterThan(0);
        }
      }),
    );
  });
});
