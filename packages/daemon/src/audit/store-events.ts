import type { AuditLog } from "@shoal/runtime";
import type { Store } from "@shoal/store";

/** Records what the store lets go, and what has rotted in it. */
export function recordStore(audit: AuditLog, store: Pick<Store, "on">): Disposable {
  const listening = new DisposableStack();
  listening.use(
    store.on("collected", ({ kind, digest, names, reason, sizeBytes, blobs }) =>
      audit.record({
        kind: "gc",
        object: kind,
        digest,
        ...(names.length === 0 ? {} : { names }),
        reason,
        blobs: blobs.length,
        bytes: sizeBytes,
      }),
    ),
  );
  listening.use(
    store.on("rotted", ({ digest, fault, sizeBytes }) =>
      audit.record({ kind: "rot", digest, fault, bytes: sizeBytes }),
    ),
  );
  return listening;
}
