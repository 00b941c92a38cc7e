import { keepNewest } from "@shoal/runtime";
import { pieceGeometry } from "@shoal/store";
import { createAuditOffice, type AuditOffice } from "./audit.ts";
import { formatOrders, parseReport } from "./dispute.ts";
import type { Notary } from "./attestation.ts";
import type { PeerIdString } from "./transport.ts";
import type { Sync, SyncReply } from "./wire/messages.ts";

/** Blobs whose disputes are remembered. */
const MOST_OFFICES = 64;

/** The audit offices that a coordinator's host has. */
export interface Audits {
  /** Takes in what a participant tells of a dispute. @returns what it is to hear and do */
  sync(from: PeerIdString, message: Sync, nowMs: number): Promise<SyncReply["audit"]>;
}

export function createAudits(components: {
  readonly notary: Notary;
  readonly random: () => number;
  readonly doubt: (peer: PeerIdString) => number;
}): Audits {
  const { notary, random, doubt } = components;
  const offices = new Map<string, AuditOffice>();
  const quiet = { disputing: false, mayAudit: false, signers: [], contested: [], heard: 0 };

  return {
    async sync(from, message, nowMs) {
      const { digest, size, dispute } = message;
      const key = `${digest}/${size}`;
      const known = offices.get(key);
      if (dispute === undefined && known === undefined) return undefined;
      const findings = [];
      for (const finding of dispute?.findings ?? []) {
        const own = finding.signer === from && finding.source === "upstream";
        const one = finding.hashes.length === 32;
        if (own && one && (await notary.verify({ digest, sizeBytes: size }, finding)))
          findings.push(finding);
      }
      const { pieceCount } = pieceGeometry(size);
      const report = parseReport(pieceCount, dispute ?? { ...quiet, findings: [] }, findings);
      if (report === undefined) return undefined;
      const office = offices.get(key) ?? createAuditOffice({ random, doubt });
      keepNewest(offices, key, office, MOST_OFFICES);
      return formatOrders(office.sync(from, report, nowMs));
    },
  };
}
