import { createHash, X509Certificate } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { createSecureContext } from "node:tls";
import { type Clock, CodedError, type Logger, keepNewest } from "@shoal/runtime";
import { isDockerHub, type RegistryEndpoint } from "./settings.ts";

/** What a registry needs of TLS beside what every registry gets. */
export interface OwnCertificates {
  /** PEM of authorities that are trusted beside the system's. */
  readonly authorities: readonly string[];
  /** PEM of this machine's certificate for the registry, and its key. Secret. */
  readonly client?: { readonly cert: string; readonly key: string };
  /** Another one for other content; empty where there is none. */
  readonly version: string;
}

/** The certificates that the configuration and the engines' `certs.d` folders hold for registries. */
export interface Certificates {
  /** @throws ERR_UPSTREAM_TLS with the file to repair */
  of(endpoint: RegistryEndpoint): Promise<OwnCertificates>;
}

/** Certificates are renewed by other programs while the daemon runs, so their files are read again. */
const FRESH_MS = 60_000;
const MAX_REMEMBERED = 256;

/**
 * The folders in which engines keep certificates, one folder a registry in each:
 * `<host:port>/{*.crt,*.cert,*.key}`. containers-certs.d(5); docs.docker.com, "certificates".
 */
export function certificateFolders(environment: {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly homeDir: string;
}): readonly string[] {
  const { env, homeDir } = environment;
  const own = env["XDG_CONFIG_HOME"] || join(homeDir, ".config");
  return [
    join(own, "containers", "certs.d"),
    join("/etc", "containers", "certs.d"),
    join("/etc", "docker", "certs.d"),
  ];
}

export function createCertificates(
  components: { readonly clock: Clock; readonly logger: Logger },
  init: {
    readonly folders: readonly string[];
    /** Show no certificate of this machine. @default false */
    readonly asNobody?: boolean | undefined;
  },
): Certificates {
  const { clock, logger } = components;
  const known = new Map<string, { atMs: number; certificates: Promise<OwnCertificates> }>();
  const unreadable = new Set<string>();

  async function filesOf(folder: string): Promise<readonly string[]> {
    try {
      return (await readdir(folder)).toSorted().map((name) => join(folder, name));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      // A user's daemon may be kept out of a folder that is root's engine's alone.
      if (code !== "ENOENT" && code !== "ENOTDIR" && !unreadable.has(folder)) {
        unreadable.add(folder);
        logger.warn({ folder, code }, "a folder of certificates cannot be read and is not used");
      }
      return [];
    }
  }

  async function read(endpoint: RegistryEndpoint): Promise<OwnCertificates> {
    const { registry, settings } = endpoint;
    const authorities: string[] = [];
    let client: OwnCertificates["client"];
    if (settings.caFile !== undefined)
      authorities.push(await readAuthority(registry, settings.caFile, "caFile must name"));
    const { clientCertFile, clientKeyFile } = settings;
    if (init.asNobody !== true && clientCertFile !== undefined && clientKeyFile !== undefined)
      client = await readPair(registry, clientCertFile, clientKeyFile);
    for (const root of init.folders)
      for (const host of hostsOf(endpoint)) {
        const files = await filesOf(join(root, host));
        for (const file of files)
          if (file.endsWith(".crt"))
            authorities.push(await readAuthority(registry, file, "a .crt file there must be"));
        const cert = files.find((file) => file.endsWith(".cert"));
        if (cert !== undefined && init.asNobody !== true)
          client ??= await readPair(registry, cert, cert.replace(/\.cert$/, ".key"));
      }
    return {
      authorities,
      ...(client === undefined ? {} : { client }),
      version:
        authorities.length === 0 && client === undefined
          ? ""
          : createHash("sha256")
              .update(JSON.stringify([authorities, client]))
              .digest("base64"),
    };
  }

  return {
    async of(endpoint) {
      const key = `${endpoint.registry} ${endpoint.base.href}`;
      const nowMs = clock.now();
      const last = known.get(key);
      if (last !== undefined && nowMs - last.atMs < FRESH_MS) return await last.certificates;
      const certificates = read(endpoint);
      keepNewest(known, key, { atMs: nowMs, certificates }, MAX_REMEMBERED);
      certificates.catch(() => known.delete(key));
      return await certificates;
    },
  };
}

/** The names under which engines may keep a registry's certificates. */
function hostsOf({ registry, base }: RegistryEndpoint): ReadonlySet<string> {
  const hub = isDockerHub(registry) ? ["registry-1.docker.io", "index.docker.io"] : [];
  return new Set([registry, ...hub, base.host]);
}

async function readAuthority(registry: string, file: string, rule: string): Promise<string> {
  try {
    const text = await readFile(file, "utf8");
    checkAuthority(text);
    return text;
  } catch (cause) {
    throw new CodedError(
      "ERR_UPSTREAM_TLS",
      `cannot read the certificates of ${registry} from ${file}; ${rule} a PEM file that the daemon's user can read`,
      { cause, details: { registry, file } },
    );
  }
}

/** As an authority OpenSSL passes over what is no certificate without a word. */
function checkAuthority(pem: string): X509Certificate {
  return new X509Certificate(pem);
}

async function readPair(
  registry: string,
  certFile: string,
  keyFile: string,
): Promise<{ cert: string; key: string }> {
  const fail = (problem: string, file: string, cause: unknown): CodedError =>
    new CodedError("ERR_UPSTREAM_TLS", `the client certificate for ${registry}: ${problem}`, {
      cause,
      details: { registry, file },
    });
  const [cert, key] = await Promise.all(
    [certFile, keyFile].map(async (file) => {
      try {
        return await readFile(file, "utf8");
      } catch (cause) {
        const { code } = cause as NodeJS.ErrnoException;
        throw fail(
          `${file} cannot be read (${code}); put it there, readable for the daemon's user`,
          file,
          cause,
        );
      }
    }),
  );
  try {
    createSecureContext({ cert: cert!, key: key! });
  } catch (cause) {
    throw fail(
      `${certFile} and ${keyFile} are not a PEM certificate and its key without a passphrase; replace them`,
      certFile,
      cause,
    );
  }
  return { cert: cert!, key: key! };
}
