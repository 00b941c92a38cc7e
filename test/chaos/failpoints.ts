/** Calls of the file system at which a pull can be cut off: by what is called, and which file it is about. */
const CALLS = {
  "data-open": ["open", /ingests\/[^/]+\.data$/],
  "journal-open": ["open", /ingests\/[^/]+\.journal\.tmp$/],
  "journal-replace": ["rename", /ingests\/[^/]+\.journal\.tmp$/],
  "piece-write": ["write", /ingests\/[^/]+\.data$/],
  "journal-append": ["write", /ingests\/[^/]+\.journal\.tmp$/],
  "data-sync": ["datasync", /ingests\/[^/]+\.data$/],
  "blob-rename": ["rename", /ingests\/[^/]+\.data$/],
  "folder-sync": ["sync", /blobs\/sha256$/],
  "journal-remove": ["rm", /ingests\/[^/]+\.journal$/],
  "put-write": ["writeFile", /ingests\/put-[^/]+$/],
  "put-sync": ["datasync", /ingests\/put-[^/]+$/],
  "put-rename": ["rename", /ingests\/put-[^/]+$/],
  "names-write": ["writeFile", /index\.json\.tmp$/],
  "names-sync": ["sync", /index\.json\.tmp$/],
  "names-rename": ["rename", /index\.json\.tmp$/],
} as const;

export type FailpointName = keyof typeof CALLS;
export type When = "before" | "after" | "half";

/** Where a daemon kills itself: at the `count`th such call. */
export interface Failpoint {
  readonly name: FailpointName;
  /** `half`: with half of what is to be written in the file. */
  readonly when: When;
  readonly count: number;
}

/** All of them, but for `count`. */
export const FAILPOINTS: readonly Omit<Failpoint, "count">[] = Object.entries(CALLS).flatMap(
  ([name, [call]]) =>
    (["before", "after", ...(call.startsWith("write") ? ["half" as const] : [])] as const).map(
      (when) => ({
        name: name as FailpointName,
        when,
      }),
    ),
);

/** Whether a call is one of a failpoint's. */
export function isAt({ name }: Pick<Failpoint, "name">, call: string, path: string): boolean {
  const [expected, of] = CALLS[name];
  return call === expected && of.test(path);
}
