import { setTimeout } from "node:timers/promises";
import {
  type ApiClient,
  type Collection,
  CodedError,
  codedError,
  parseBytes,
  type PinList,
  type Rebuilt,
  type Verification,
} from "@shoal/api";
import { type CommandTools, type CommonOptions, usageError } from "./command-tools.ts";
import { EXIT } from "./exit-codes.ts";
import { formatAge, formatBytes, formatCount, shortDigest, table, wrap } from "./format.ts";
import { plain } from "./text.ts";

const POLL_MS = 300;

/** Adds the commands about what the store keeps and lets go of. */
export function addStoreCommands(tools: CommandTools): void {
  const { command, withClient, print, terminal, signal } = tools;

  command("pin", "Keep an image in the store, however full it gets", [
    "shoal pin alpine:3.20",
    "shoal pin sha256:…",
  ])
    .argument("<image>", "reference or digest of an image that is in the store")
    .addHelpText(
      "after",
      "\nIt pins what the name stands for now. When its tag has moved on, pin it again.",
    )
    .action(
      async (name: string, options: CommonOptions) =>
        await withClient(options, async (client) => {
          const pin = await client.store.pin({ name }, { signal });
          print(pin, options, () => [`pinned ${plain(pin.name)}, ${shortDigest(pin.digest)}`]);
        }),
    );

  command("unpin", "Take back a pin: the image may go when room is needed", [
    "shoal unpin alpine:3.20",
  ])
    .argument("<image>", "what was pinned: its reference, or its digest")
    .action(
      async (name: string, options: CommonOptions) =>
        await withClient(options, async (client) => {
          const pins = await client.store.unpin({ name }, { signal });
          if (pins.length === 0)
            throw new CodedError(
              "ERR_PIN_NOT_FOUND",
              `${name} is not pinned; see \`shoal pins\` for what is`,
            );
          print({ pins }, options, () => pins.map((pin) => `unpinned ${plain(pin.name)}`));
        }),
    );

  command("pins", "List what is pinned, and how much each pin keeps", ["shoal pins"]).action(
    async (options: CommonOptions) =>
      await withClient(options, async (client) => {
        const pins = await client.store.pins({ signal });
        print({ pins }, options, () => pinLines(pins, terminal.columns, terminal.now()));
      }),
  );

  command("store", "Verify all blobs of the store, or rebuild its index", [
    "shoal store verify",
    "shoal store verify --json",
    "shoal store rebuild",
  ])
    .argument("<action>", "verify or rebuild")
    .addHelpText(
      "after",
      "\nverify reads every blob and compares it with its digest. It exits with 1 when one is wrong: that is put\naside, and fetched again if an image tells from where. The daemon does this by itself as well, once in\nstore.scrubDays days. rebuild makes the index anew from the blobs that are there.",
    )
    .action(async (action: string, options: CommonOptions) => {
      if (action !== "verify" && action !== "rebuild")
        throw usageError("write `shoal store verify`, or `shoal store rebuild`");
      await withClient(options, async (client) => {
        if (action === "rebuild") {
          const rebuilt = await client.store.rebuild({ signal });
          print(rebuilt, options, () => rebuiltLines(rebuilt, terminal.columns));
          return EXIT.ok;
        }
        const verified = await verify(client, signal);
        const { error } = verified;
        if (error !== undefined) throw codedError(error);
        print(verified, options, () => verificationLines(verified, terminal.columns));
        return verified.findings.length === 0 ? EXIT.ok : EXIT.failed;
      });
    });

  command("gc", "Make room: what was used least recently goes first", [
    "shoal gc --dry-run",
    "shoal gc --to 20GB",
    "shoal gc --to 0",
  ])
    .option("--dry-run", "show what would go, remove nothing")
    .option("--to <size>", "what the store may still hold (default: its low-water mark)")
    .addHelpText(
      "after",
      "\nThe daemon does this by itself when the store gets full. Pinned images and what is in use stay.",
    )
    .action(
      async (options: CommonOptions & { readonly dryRun?: boolean; readonly to?: string }) => {
        const targetBytes = options.to === undefined ? undefined : parseBytes(options.to);
        if (options.to !== undefined && targetBytes === undefined)
          throw usageError(`${JSON.stringify(options.to)} is no size: write 20GB, 512MiB or 0`);
        await withClient(options, async (client) => {
          const request = {
            dryRun: options.dryRun === true,
            ...(targetBytes === undefined ? {} : { targetBytes }),
          };
          const collection = await client.store.collect(request, { signal });
          print(collection, options, () =>
            collectionLines(collection, terminal.columns, terminal.now()),
          );
        });
      },
    );
}

/** Begins a verification, or joins one, and waits for its end. */
async function verify(client: ApiClient, signal: AbortSignal): Promise<Verification> {
  let state = await client.store.startVerification({ signal });
  while (state.finishedAt === undefined) {
    await setTimeout(POLL_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
    state = await client.store.verification({ signal });
  }
  return state;
}

const FAULTS: Readonly<Record<Verification["findings"][number]["fault"], string>> = {
  rotten: "has other bytes than it had",
  unreadable: "can't be read",
  missing: "has no file any more",
};

function verificationLines(verified: Verification, columns: number): string[] {
  const { checkedBlobs, checkedBytes, findings } = verified;
  const rows = findings.map(({ digest, sizeBytes, fault }) => [
    shortDigest(digest),
    formatBytes(sizeBytes),
    FAULTS[fault],
  ]);
  const read = `${formatCount(checkedBlobs, "blob")}, ${formatBytes(checkedBytes)} read`;
  const outcome =
    findings.length === 0
      ? "all are what they were"
      : `${formatCount(findings.length, "blob")} put aside, and fetched again where an image tells from where; look at the disk`;
  return [...table(rows, columns), ...wrap(`${read}: ${outcome}`, columns)];
}

function rebuiltLines(rebuilt: Rebuilt, columns: number): string[] {
  const { blobs, manifests, addedBlobs, goneBlobs, droppedRecords } = rebuilt;
  return wrap(
    `${formatCount(blobs, "blob")}, ${formatCount(manifests, "manifest")} among them; ${addedBlobs} were not known, ${goneBlobs} are gone, ${formatCount(droppedRecords, "record")} dropped`,
    columns,
  );
}

function pinLines(pins: PinList["pins"], columns: number, nowMs: number): string[] {
  if (pins.length === 0) return ["nothing is pinned: run `shoal pin IMAGE`"];
  const rows = pins.map(({ name, digest, pinnedAt, sizeBytes }) => [
    shortDigest(digest),
    formatBytes(sizeBytes),
    formatAge(pinnedAt, nowMs),
    plain(name),
  ]);
  return table([["DIGEST", "KEEPS", "PINNED", "NAME"], ...rows], columns, [2, 0]);
}

const REASONS: Readonly<Record<Collection["removals"][number]["reason"], string>> = {
  unnamed: "no image names it",
  unfinished: "unfinished",
  "least-recently-used": "used least",
  "last-copy": "last in the site",
};

function collectionLines(collection: Collection, columns: number, nowMs: number): string[] {
  const { dryRun, removals, wonBytes, shortBytes } = collection;
  const rows = removals.map(({ kind, digest, names, reason, usedAt, sizeBytes }) => [
    kind,
    shortDigest(digest),
    formatBytes(sizeBytes),
    formatAge(usedAt, nowMs),
    REASONS[reason],
    plain(names.join(", ")),
  ]);
  const head = ["WHAT", "DIGEST", "SIZE", "LAST USED", "WHY", "NAME"];
  const won = `${dryRun ? "would win" : "won"} ${formatBytes(wonBytes)} from ${formatCount(removals.length, "item")}`;
  const short =
    shortBytes === 0 ? "" : `; ${formatBytes(shortBytes)} more are pinned or in use, and stay`;
  return [
    ...(rows.length === 0 ? [] : table([head, ...rows], columns, [1, 4, 0])),
    ...wrap(rows.length === 0 && short === "" ? "nothing has to go" : won + short, columns),
  ];
}
