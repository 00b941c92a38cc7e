import type { PieceIndex } from "@shoal/store";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createAuditOffice, type DisputeReport, type Finding, judge } from "../src/audit.ts";
import { testPeerId } from "../src/testing.ts";
import type { PeerIdString } from "../src/transport.ts";
import type { Attestation } from "../src/wire/messages.ts";

const peers = Array.from({ length: 6 }, (_, i) => testPeerId(`p${i}`));
const [a, b, c, d] = peers as [PeerIdString, PeerIdString, PeerIdString, PeerIdString];

function found(piece: number, auditor: PeerIdString, hash: string): Finding {
  return { piece: piece as PieceIndex, auditor, hash };
}

describe("a judgement", () => {
  const held = () => ({ hash: "lie", signer: d });

  it("needs two against one", () => {
    expect(judge(a, held, [found(0, b, "true")])).toEqual({ wrong: new Set(), contested: [0] });
    const two = [found(0, b, "true"), found(0, c, "true")];
    expect(judge(a, held, two).wrong).toEqual(new Set([d]));
  });

  it("believes what one has read oneself, but not against two others", () => {
    expect(judge(a, held, [found(0, a, "true")]).wrong).toEqual(new Set([d]));
    const misled = [found(0, a, "bent"), found(0, b, "true"), found(0, c, "true")];
    expect(judge(a, held, misled).wrong).toEqual(new Set([a, d]));
  });

  it("blames the auditor when another agrees with the signer", () => {
    const framed = [found(0, b, "other"), found(0, c, "lie")];
    expect(judge(a, held, framed).wrong).toEqual(new Set([b]));
  });
});

describe("an audit office", () => {
  it("has a liar's false piece read by somebody else, whoever signs what, and never by its signer", () => {
    const scenario = fc.record({
      signers: fc.array(fc.nat(peers.length - 1), { minLength: 4, maxLength: 40 }),
      seed: fc.integer(),
    });
    fc.assert(
      fc.property(scenario, ({ signers, seed }) => {
        let state = seed >>> 0;
        const random = (): number => {
          state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
          return state / 2 ** 32;
        };
        const office = createAuditOffice({ random, doubt: (peer) => peers.indexOf(peer) });
        const claims = new Map<PeerIdString, Set<PieceIndex>>();
        for (const [piece, signer] of signers.entries()) {
          const pieces = claims.get(peers[signer]!) ?? new Set();
          claims.set(peers[signer]!, pieces.add(piece as PieceIndex));
        }
        const heard = new Map<PeerIdString, number>();
        const audited = new Set<number>();
        let findings: { from: PeerIdString; list: Attestation[] }[] = [];
        for (let round = 0; round < 200 && audited.size < signers.length; round++)
          for (const from of peers) {
            const mine = findings.filter((one) => one.from === from).flatMap((one) => one.list);
            findings = findings.filter((one) => one.from !== from);
            const report: DisputeReport = {
              disputing: true,
              mayAudit: true,
              signers: claims,
              contested: [],
              findings: mine,
              heard: heard.get(from) ?? 0,
            };
            const orders = office.sync(from, report, round * 100);
            heard.set(from, orders.heard);
            expect(orders.audits.length).toBeLessThanOrEqual(4);
            for (const piece of orders.audits) {
              expect(peers[signers[piece]!]).not.toBe(from);
              audited.add(piece);
            }
            const list = orders.audits.map((first) => ({
              signer: from,
              first,
              hashes: new Uint8Array(32),
              source: "upstream" as const,
              signature: new Uint8Array(64),
            }));
            findings.push({ from, list });
          }
        expect(audited.size).toBe(signers.length);
      }),
    );
  });

  it("reads a contested piece with no more than three, and nothing else meanwhile", () => {
    const office = createAuditOffice({ random: () => 0, doubt: () => 0 });
    const report: DisputeReport = {
      disputing: true,
      mayAudit: true,
      signers: new Map([[a, new Set([0, 1, 2] as PieceIndex[])]]),
      contested: [1 as PieceIndex],
      findings: [],
      heard: 0,
    };
    const ordered = peers.map((peer) => office.sync(peer, report, 0).audits);
    expect(ordered.filter((audits) => audits.length > 0)).toEqual([[1], [1], [1]]);
  });
});
