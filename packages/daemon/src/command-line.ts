import { Command, CommanderError } from "commander";
import { flagOf, type TextSettings, VARIABLES } from "./load-configuration.ts";
import { VERSION } from "./version.ts";

/** What the command line asks for. */
export interface CommandLine {
  readonly configFile: string | undefined;
  readonly flags: TextSettings;
}

const HELP: Readonly<Record<string, string>> = {
  state: "folder of the store, the identity and the site's token",
  socket: "Unix socket of the API",
  "mirror.listen": "host:port,… where container engines reach the mirror",
  "mirror.hosts": "names besides loopback's that a Host header may carry",
  "swarm.listen": "addresses for other members",
  "swarm.port": "TCP port for other members",
  "swarm.mdns": "true or false: find members by multicast DNS",
  "swarm.peers": "host:port,… of members where multicast does not pass",
  "metrics.listen": "host:port,… of /metrics and /livez, or none",
  "site.tokenFile": "file with the site's token",
  "resolve.freshSeconds": "a tag is not asked for again for this long",
  "resolve.staleMaxSeconds": "a tag's last answer is used up to this age",
  "upstream.allowPrivate": "true or false: registries may be at private addresses",
  "store.maxBytes": "what the store holds at most, in bytes",
  "store.minFreeBytes": "disk space left free",
  "log.level": "debug, info, warn or error",
  "log.format": "auto, json or text",
};

/** Parses the daemon's arguments; `undefined` when help or the version was printed. @throws CommanderError */
export function parseCommandLine(
  argv: readonly string[],
  write: (text: string) => void,
  writeError: (text: string) => void,
): CommandLine | undefined {
  const command = new Command("shoald")
    .description(
      "Pulls container images once for all machines of a LAN and shares them among these.",
    )
    .version(VERSION)
    .option("-c, --config <file>", "configuration file (YAML), $SHOAL_CONFIG")
    .allowExcessArguments(false)
    .exitOverride()
    .configureOutput({
      writeOut: write,
      writeErr: writeError,
      outputError: (text, print) =>
        print(
          `error [ERR_USAGE]: ${text.trim().replace(/^error: /, "")}; run with --help to see how it is used\n`,
        ),
    })
    .addHelpText(
      "after",
      "\nFlags go before variables of the environment, these before the file, and the file before defaults.\nWithout any, the daemon works: mirror 127.0.0.1:5055, API on a Unix socket, members found by mDNS.\n\nExamples:\n  npm start\n  npm start -- --state /srv/shoal --swarm-peers 10.0.0.7,10.0.0.8\n  SHOAL_LOG_LEVEL=debug npm start",
    );
  for (const [setting, variable] of Object.entries(VARIABLES))
    command.option(`--${flagOf(setting)} <value>`, `${HELP[setting] ?? setting}, $${variable}`);
  try {
    command.parse([...argv], { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return undefined;
    throw error;
  }
  const options = command.opts<Record<string, string | undefined>>();
  const flags: Record<string, string | undefined> = {};
  for (const setting of Object.keys(VARIABLES)) flags[setting] = options[camel(flagOf(setting))];
  return { configFile: options["config"], flags };
}

function camel(flag: string): string {
  return flag.replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}
