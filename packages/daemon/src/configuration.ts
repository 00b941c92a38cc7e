import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { defaultSocketPath, SYSTEM_SOCKET_PATH, parseRate } from "@shoal/api";
import { parseRegistryHost, parseRepositoryName } from "@shoal/oci";
import { CodedError } from "@shoal/runtime";
import { isHelperName } from "@shoal/upstream";
import * as z from "zod";

const port = z.number().int().min(0).max(65_535);
/** `host:port`, with an IPv6 host in brackets. */
const listenAddress = z
  .string()
  .regex(
    /^(\[[0-9a-fA-F:.]+\]|[^:\s[\]]+):[0-9]{1,5}$/,
    "write host:port, for example 127.0.0.1:5055",
  );
const rate = z.string().refine((text) => parseRate(text) !== undefined, {
  message: "write a rate, for example 20Mbit, 2.5MB or none",
});
const seconds = z
  .number()
  .nonnegative()
  .max(10 * 365 * 24 * 3600);
const interfaceName = z
  .string()
  .regex(/^[^\s/%]{1,15}$/, "write an interface's name, for example eth0 or enp*");
const timeout = z.number().min(0.1).max(600);
const wholeBytes = z.number().int().nonnegative();
const registryKey = z.string().refine((text) => parses(() => parseRegistryHost(text)), {
  message: "write a registry's host, with :PORT where it has one",
});

const RegistrySchema = z.strictObject({
  plainHttp: z
    .boolean()
    .describe(
      "Speak HTTP without TLS. Default: false; for localhost true, unless TLS is configured",
    )
    .optional(),
  endpoint: z
    .string()
    .describe("URL that stands for the registry: http://10.0.0.2:5000")
    .optional(),
  endpoints: z.array(z.string()).describe("URLs of mirrors that are asked before it").optional(),
  endpointsOrder: z
    .enum(["listed", "fastest"])
    .describe("Ask them as listed, or those first whose answers begin soonest. Default: listed")
    .optional(),
  endpointsOnly: z.boolean().describe("Never ask the registry itself. Default: false").optional(),
  caFile: z.string().describe("PEM file of authorities trusted beside the system's").optional(),
  clientCertFile: z
    .string()
    .describe("PEM file of the certificate that this machine shows it")
    .optional(),
  clientKeyFile: z.string().describe("PEM file of that certificate's key").optional(),
  insecureSkipVerify: z.boolean().describe("Accept any certificate. Default: false").optional(),
  proxy: z
    .string()
    .describe("HTTP proxy for its requests, or none. Default: as HTTPS_PROXY and NO_PROXY say")
    .optional(),
  connectTimeoutSeconds: timeout.describe("For a connection to come up. Default: 10").optional(),
  headersTimeoutSeconds: timeout.describe("For an answer to begin. Default: 30").optional(),
  idleTimeoutSeconds: timeout
    .describe("For silence in the midst of an answer. Default: 15")
    .optional(),
  allowPrivate: z
    .boolean()
    .describe("Its redirects and token server may be at private addresses. Default: false")
    .optional(),
  tokenRealms: z.array(z.string()).describe("Origins that may hand out its tokens").optional(),
});

const ShareRuleSchema = z.strictObject({
  registry: registryKey.describe("The registry that the rule is about"),
  repository: z
    .string()
    .refine((text) => parses(() => parseRepositoryName(text.replace(/\/\*$/, ""))), {
      message: "write a repository, or a prefix that ends with /*",
    })
    .describe("A repository or a prefix/*. Default: all of the registry")
    .optional(),
  share: z
    .enum(["site", "private", "never"])
    .describe(
      "Whether members may exchange what is pulled from it; private: those whom the registry lets read it",
    ),
});

/** Everything that can be configured; the reference page is made from it. */
export const ConfigurationSchema = z.strictObject({
  state: z.string().min(1).describe("Folder of the store, the identity and the site's token"),
  socket: z.string().min(1).describe("Unix socket of the API"),
  zone: z
    .string()
    .regex(/^[A-Za-z0-9._-]{0,64}$/, "write up to 64 letters, digits, dots, dashes, underscores")
    .describe(
      "Label of the rack or room that this machine is in: each image comes into a zone about once. Machines without a label are one zone",
    ),
  mirror: z
    .strictObject({
      listen: z.array(listenAddress).describe("Where container engines reach the mirror"),
      hosts: z.array(z.string()).describe("Names besides loopback's that a Host header may carry"),
      secretFile: z
        .string()
        .min(1)
        .describe("File with the secret by which the mirror gives private repositories to anybody")
        .optional(),
    })
    .describe("The endpoint that engines pull through"),
  swarm: z
    .strictObject({
      listen: z.array(z.string()).describe("Addresses for other members. Empty: all"),
      port: port.describe("TCP port for other members"),
      bulkPort: z
        .int()
        .min(0)
        .max(65_535)
        .describe(
          "TCP port for the bytes of images, over TLS; any free one when it is taken or 0. Where a firewall keeps it, they go over swarm.port, at twice the processor time",
        ),
      mdns: z.boolean().describe("Find members by multicast DNS"),
      peers: z
        .array(z.string())
        .describe(
          "host:port of members where multicast does not pass; a name may stand for many of them",
        ),
      interfaces: z
        .array(interfaceName)
        .describe(
          "Network interfaces that members are behind, * for any letters. Empty: all but those of container engines, hypervisors and VPNs",
        )
        .optional(),
      exceptInterfaces: z
        .array(interfaceName)
        .describe("Interfaces that are left out of these")
        .optional(),
    })
    .describe("Exchange with the other machines of the site"),
  metrics: z
    .strictObject({
      listen: z.array(listenAddress).describe("Where /metrics and /livez are served"),
      hosts: z
        .array(z.string())
        .describe("Names that a Host header may carry besides loopback's and the address itself"),
    })
    .describe("Prometheus metrics and health"),
  site: z
    .strictObject({
      tokenFile: z
        .string()
        .describe("File with the site's token. Default: in the state folder")
        .optional(),
      keyFile: z
        .string()
        .describe("File with the site key, where there is one. Default: in the state folder")
        .optional(),
      certificateDays: z
        .number()
        .positive()
        .max(400)
        .describe(
          "How long certificates hold that this machine gives; they are renewed in time. Default: 90",
        )
        .optional(),
    })
    .describe("Which machines belong together"),
  resolve: z
    .strictObject({
      freshSeconds: seconds.describe(
        "A tag, or a list of tags or referrers, is not asked for again for this long",
      ),
      staleMaxSeconds: seconds.describe(
        "With the registry out of reach, a tag's last answer is used up to this age",
      ),
    })
    .describe("What tags name"),
  registries: z.record(registryKey, RegistrySchema).describe("Settings by registry host"),
  uplink: z
    .strictObject({
      limit: rate.describe(
        "What all members together read from registries: 20Mbit, 2.5MB (a second), none",
      ),
      connections: z
        .number()
        .int()
        .nonnegative()
        .describe("Requests for blobs to one registry at a time, of all members. 0: no limit"),
    })
    .describe("The site's line to the registries. Of several members' limits the lowest holds"),
  lan: z
    .strictObject({
      uploadLimit: rate.describe("What this machine sends to members: 500Mbit, 20MB, none"),
    })
    .describe("This machine's line to the members"),
  upstream: z
    .strictObject({
      allowPrivate: z.boolean().describe("Every registry may be at a private or loopback address"),
      credentialHelpers: z
        .array(z.string().refine(isHelperName, { message: "write the X of docker-credential-X" }))
        .describe("The X of each docker-credential-X that may be run when an auth file names it"),
    })
    .describe("How registries are reached"),
  share: z
    .array(ShareRuleSchema)
    .describe("What members may exchange; the first rule that fits counts"),
  access: z
    .strictObject({
      provenSeconds: seconds.describe(
        "That the registry lets this machine read such a repository is not asked again for this long",
      ),
      graceSeconds: seconds.describe(
        "With the registry out of reach, its last word holds for this long",
      ),
    })
    .describe("Repositories with share: private"),
  store: z
    .strictObject({
      maxBytes: wholeBytes.describe("What the store holds at most. 0: what the disk has"),
      minFreeBytes: wholeBytes
        .describe(
          "Disk space left free. Bytes. Default: 5 % of the disk and at least 2 GiB, but at most a quarter of it",
        )
        .optional(),
      highWaterPercent: z
        .number()
        .min(10)
        .max(100)
        .describe("Over this share of what it may hold, what was used least recently is removed"),
      lowWaterPercent: z.number().min(5).max(100).describe("Down to this share"),
      scrubDays: z
        .number()
        .min(0)
        .max(3650)
        .describe("Each blob is read and compared with its digest once in so many days. 0: never"),
    })
    .describe("The blobs on disk"),
  audit: z
    .strictObject({
      enabled: z.boolean().describe("Keep an audit log, in the state folder"),
      maxBytes: z
        .number()
        .int()
        .min(4096)
        .max(1024 ** 3)
        .describe("A file of it is followed by a new one at this size. Bytes"),
      files: z
        .number()
        .int()
        .min(1)
        .max(10_000)
        .describe("Files that are kept, the current one among them"),
    })
    .describe("The record of who pulled what, and what was refused"),
  log: z
    .strictObject({
      level: z
        .enum(["debug", "info", "warn", "error"])
        .describe("Least severe lines that are written"),
      format: z.enum(["auto", "json", "text"]).describe("auto: text on a terminal, JSON elsewhere"),
    })
    .describe("The log, on standard error"),
});
export type Configuration = z.infer<typeof ConfigurationSchema>;

/** What the environment tells of the user. */
export interface Environment {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly uid: number;
}

/** The configuration of a daemon that was told nothing. */
export function defaultConfiguration({ env, uid }: Environment): Configuration {
  const root = uid === 0;
  const home = env["HOME"] ?? homedir();
  return {
    state: root
      ? "/var/lib/shoal"
      : join(env["XDG_STATE_HOME"] || join(home, ".local/state"), "shoal"),
    // Another daemon's, the system's, is not this one's to take.
    socket: defaultSocketPath(env, uid, (path) => path !== SYSTEM_SOCKET_PATH && existsSync(path)),
    zone: "",
    mirror: { listen: ["127.0.0.1:5055", "[::1]:5055"], hosts: [] },
    swarm: {
      listen: [],
      port: 5056,
      bulkPort: 5058,
      mdns: true,
      peers: [],
      interfaces: [],
      exceptInterfaces: [],
    },
    metrics: { listen: ["127.0.0.1:5057"], hosts: [] },
    site: {},
    resolve: { freshSeconds: 60, staleMaxSeconds: 30 * 24 * 3600 },
    registries: {},
    uplink: { limit: "none", connections: 0 },
    lan: { uploadLimit: "none" },
    upstream: { allowPrivate: false, credentialHelpers: [] },
    share: [],
    access: { provenSeconds: 300, graceSeconds: 24 * 3600 },
    store: { maxBytes: 0, highWaterPercent: 95, lowWaterPercent: 85, scrubDays: 30 },
    audit: { enabled: true, maxBytes: 16 * 1024 * 1024, files: 8 },
    log: { level: "info", format: "auto" },
  };
}

/** The configuration file: the one that is named, or the one that is looked for. */
export function configurationPath({ env, uid }: Environment, named?: string): string {
  const path = named ?? env["SHOAL_CONFIG"];
  if (path !== undefined) return path;
  if (uid === 0) return "/etc/shoal/shoal.yaml";
  const home = env["HOME"] ?? homedir();
  return join(env["XDG_CONFIG_HOME"] || join(home, ".config"), "shoal", "shoal.yaml");
}

export function configurationError(
  message: string,
  details: Readonly<Record<string, string | number | undefined>> = {},
): CodedError<"ERR_CONFIG"> {
  return new CodedError("ERR_CONFIG", message, { details });
}

function parses(parse: () => unknown): boolean {
  try {
    parse();
    return true;
  } catch {
    return false;
  }
}
