/**
 * What the audit log records: one variant a kind, flat, of names and numbers. Never a credential, never a
 * header, never a setting's value. A kind that is added here gets a row in docs/audit.md.
 */
export type AuditEvent =
  | {
      readonly kind: "start";
      /** Shoal's. */
      readonly program: string;
      readonly peer: string;
      readonly site?: string | undefined;
    }
  | { readonly kind: "stop" }
  | {
      readonly kind: "configuration";
      readonly by: "file" | "socket";
      /** Keyed hash over all settings, where the whole is known. */
      readonly hash?: string;
      /** Names of settings. */
      readonly changed: readonly string[];
    }
  | {
      readonly kind: "pull";
      readonly via: "mirror" | "socket";
      readonly object: "image" | "manifest" | "blob";
      /** As asked for; of a blob, its repository. */
      readonly reference: string;
      readonly digest?: string | undefined;
      /** Which engine, by how it names itself; its address where that is another machine's. */
      readonly client?: string | undefined;
      readonly outcome: "done" | "failed" | "cancelled";
      /** Of the error. */
      readonly code?: string | undefined;
      /** The registry could not be asked what the tag names. */
      readonly stale?: boolean | undefined;
      readonly bytes: number;
    }
  | {
      readonly kind: "serve";
      readonly peer: string;
      readonly digest: string;
      readonly bytes: number;
    }
  | {
      readonly kind: "deny";
      /** Which door was knocked at. */
      readonly at: "mirror" | "metrics" | "api" | "admission" | "upstream" | "swarm";
      readonly reason:
        | "host"
        | "push"
        | "not-admitted"
        | "join-token"
        | "address"
        | "realm"
        | "redirect"
        | "not-shared"
        | "private";
      /** Address or peer id. */
      readonly who?: string | undefined;
      /** Name, registry or repository that was asked for. */
      readonly what?: string | undefined;
    }
  | {
      readonly kind: "verification-failure";
      /** Bytes of a registry, of a member, or a member's signed word about them. */
      readonly of: "upstream" | "piece" | "attestation";
      /** Peer id, or registry. */
      readonly who: string;
      readonly digest?: string | undefined;
      readonly strikes?: number | undefined;
    }
  | {
      readonly kind: "gc";
      readonly object: "image" | "blob" | "ingest";
      readonly digest: string;
      readonly names?: readonly string[];
      readonly reason: "unnamed" | "unfinished" | "least-recently-used" | "last-copy";
      /** How many went with it. */
      readonly blobs: number;
      readonly bytes: number;
    }
  | {
      readonly kind: "rot";
      readonly digest: string;
      readonly fault: "rotten" | "unreadable" | "missing";
      readonly bytes: number;
    }
  | { readonly kind: "ban"; readonly peer: string; readonly until: string }
  | { readonly kind: "member-up" | "member-down"; readonly peer: string }
  | {
      readonly kind: "join";
      readonly site: string;
      /** This machine has made it. */
      readonly made?: boolean;
      /** The site that was left for it. */
      readonly left?: string;
      /** What this machine is called in the certificate that it was given. */
      readonly name?: string;
    }
  | {
      /** This machine, which has the site key, has said who belongs to the site. */
      readonly kind: "certificate";
      readonly peer: string;
      readonly name: string;
      /** Name of the join token that was used; absent for a renewal. */
      readonly token?: string;
      readonly until: string;
    }
  | {
      readonly kind: "join-token";
      /** Its name, which tells nothing of its secret. */
      readonly token: string;
      readonly uses: number;
      readonly until: string;
    }
  /** This machine has heard that a member is none any more, or has said so. */
  | { readonly kind: "revoke"; readonly peer: string }
  /** The same of the site's token. */
  | { readonly kind: "token-end"; readonly site: string };

/** Where facts go that an auditor asks for. Recording never waits, never throws, and never fails what is recorded. */
export interface AuditLog {
  record(event: AuditEvent): void;
}

/** Keeps nothing. */
export const noAuditLog: AuditLog = { record() {} };
