import type { ApiClient } from "@shoal/api";
import { type CommandTools, type CommonOptions, usageError } from "./command-tools.ts";
import { followPull } from "./follow-pull.ts";
import { imageLines, pullListLines } from "./views.ts";

interface PullOptions extends CommonOptions {
  readonly platform?: string;
  readonly allPlatforms?: boolean;
  readonly quiet?: boolean;
  readonly detach?: boolean;
}

/** Adds the commands that pull images, and those about pulls. */
export function addPullCommands(tools: CommandTools): void {
  const { command, withClient, print, terminal, signal } = tools;

  command("pull", "Pull an image into the daemon's store", [
    "shoal pull alpine",
    "shoal pull ghcr.io/org/app:v2 --platform linux/arm64",
    "shoal pull registry.lan:5000/app@sha256:… --json",
  ])
    .argument("<reference>", "image: [registry/]name[:tag][@digest]")
    .option("--platform <platform>", "os/architecture[/variant] (default: this machine's)")
    .option("--all-platforms", "everything that the image's index lists")
    .option("-q, --quiet", "print the digest only")
    .option("-d, --detach", "print the pull's id and leave it to the daemon")
    .addHelpText(
      "after",
      "\nWith --json every change of the pull is a line on standard output. When it fails, the last line has\nthe state failed and the error, and the error is on standard error as well.",
    )
    .action(async (reference: string, options: PullOptions) => {
      if (options.allPlatforms === true && options.platform !== undefined)
        throw usageError("choose one of --platform and --all-platforms");
      await withClient(
        options,
        async (client) =>
          await followPull(client, terminal, {
            reference,
            platform: options.allPlatforms === true ? "all" : options.platform,
            json: options.json === true,
            quiet: options.quiet === true,
            detach: options.detach === true,
            interrupted: signal,
          }),
      );
    });

  command("pulls", "List pulls that are under way or have lately ended", ["shoal pulls"]).action(
    async (options: CommonOptions) =>
      await withClient(options, async (client) => {
        const pulls = await client.pulls({ signal });
        print({ pulls }, options, () => pullListLines(pulls, terminal.columns, terminal.now()));
      }),
  );

  command("cancel", "Cancel a pull; what has arrived is kept for the next one", ["shoal cancel ID"])
    .argument("<id>", "the pull's id, or its beginning, as `shoal pulls` shows it")
    .action(
      async (id: string, options: CommonOptions) =>
        await withClient(options, async (client) => {
          const whole = await wholeId(client, id, signal);
          await client.cancelPull(whole, { signal });
          print({ cancelled: whole }, options, () => [`cancelled ${id}`]);
        }),
    );

  command("images", "List the images that were pulled by name", ["shoal images"]).action(
    async (options: CommonOptions) =>
      await withClient(options, async (client) => {
        const images = await client.images({ signal });
        print({ images }, options, () => imageLines(images, terminal.columns));
      }),
  );
}

/** The id that begins with `start`; `start` itself when the daemon shall say that there is none. */
async function wholeId(client: ApiClient, start: string, signal: AbortSignal): Promise<string> {
  const ids = (await client.pulls({ signal })).map(({ id }) => id);
  if (ids.includes(start)) return start;
  const found = ids.filter((id) => id.startsWith(start));
  if (found.length > 1)
    throw usageError(
      `${found.length} pulls begin with ${start}: ${found.join(", ")}; write more of the one you mean`,
    );
  return found[0] ?? start;
}
