import { readFile } from "node:fs/promises";
import { CodedError } from "@shoal/runtime";
import { isMap, isNode, isScalar, isSeq, LineCounter, parseDocument } from "yaml";
import * as z from "zod";
import {
  type Configuration,
  ConfigurationSchema,
  configurationError,
  configurationPath,
  defaultConfiguration,
  type Environment,
} from "./configuration.ts";

type Json = { [key: string]: unknown };

/** Settings that a flag or a variable of the environment may set: path → variable. */
export const VARIABLES: Readonly<Record<string, string>> = {
  state: "SHOAL_STATE",
  socket: "SHOAL_SOCKET",
  zone: "SHOAL_ZONE",
  "mirror.listen": "SHOAL_MIRROR_LISTEN",
  "mirror.hosts": "SHOAL_MIRROR_HOSTS",
  "mirror.secretFile": "SHOAL_MIRROR_SECRET_FILE",
  "swarm.listen": "SHOAL_SWARM_LISTEN",
  "swarm.port": "SHOAL_SWARM_PORT",
  "swarm.mdns": "SHOAL_SWARM_MDNS",
  "swarm.peers": "SHOAL_SWARM_PEERS",
  "swarm.interfaces": "SHOAL_SWARM_INTERFACES",
  "swarm.exceptInterfaces": "SHOAL_SWARM_EXCEPT_INTERFACES",
  "metrics.listen": "SHOAL_METRICS_LISTEN",
  "metrics.hosts": "SHOAL_METRICS_HOSTS",
  "site.tokenFile": "SHOAL_TOKEN_FILE",
  "resolve.freshSeconds": "SHOAL_RESOLVE_FRESH_SECONDS",
  "resolve.staleMaxSeconds": "SHOAL_RESOLVE_STALE_MAX_SECONDS",
  "uplink.limit": "SHOAL_UPLINK_LIMIT",
  "uplink.connections": "SHOAL_UPLINK_CONNECTIONS",
  "lan.uploadLimit": "SHOAL_LAN_UPLOAD_LIMIT",
  "upstream.allowPrivate": "SHOAL_UPSTREAM_ALLOW_PRIVATE",
  "upstream.credentialHelpers": "SHOAL_UPSTREAM_CREDENTIAL_HELPERS",
  "store.maxBytes": "SHOAL_STORE_MAX_BYTES",
  "store.minFreeBytes": "SHOAL_STORE_MIN_FREE_BYTES",
  "audit.enabled": "SHOAL_AUDIT_ENABLED",
  "audit.maxBytes": "SHOAL_AUDIT_MAX_BYTES",
  "audit.files": "SHOAL_AUDIT_FILES",
  "log.level": "SHOAL_LOG_LEVEL",
  "log.format": "SHOAL_LOG_FORMAT",
};

/** Values by setting's path, as text: what flags and variables give. */
export type TextSettings = Readonly<Record<string, string | undefined>>;

export interface LoadOptions {
  readonly environment: Environment;
  /** Named on the command line: it must exist. */
  readonly file?: string | undefined;
  readonly flags?: TextSettings;
}

/**
 * The configuration: flags before variables before the file before defaults.
 * @throws ERR_CONFIG with file, line and column where the mistake is in the file
 */
export async function loadConfiguration(options: LoadOptions): Promise<Configuration> {
  const { environment, flags = {} } = options;
  const path = configurationPath(environment, options.file);
  const isNamed = options.file !== undefined || environment.env["SHOAL_CONFIG"] !== undefined;
  const text = await readFileAt(path, isNamed);
  const merged = defaultConfiguration(environment) as unknown as Json;
  if (text !== undefined) merge(merged, parseFile(text, path));
  const variables: Record<string, string | undefined> = {};
  for (const [setting, name] of Object.entries(VARIABLES))
    variables[setting] = environment.env[name];
  applyText(merged, variables, (setting) => VARIABLES[setting]!);
  applyText(merged, flags, (setting) => `--${flagOf(setting)}`);
  return merged as unknown as Configuration;
}

/** The flag of a setting: `mirror.listen` is `--mirror-listen`, `swarm.mdns` is `--swarm-mdns`. */
export function flagOf(setting: string): string {
  return setting.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`).replaceAll(".", "-");
}

async function readFileAt(path: string, required: boolean): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT" && !required) return undefined;
    const why = code === "ENOENT" ? "does not exist" : `can't be read (${code})`;
    throw configurationError(`the configuration ${path} ${why}; name another with --config`, {
      path,
    });
  }
}

/** Checks a configuration file by itself. @throws ERR_CONFIG */
export function parseFile(text: string, path: string): Json {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    uniqueKeys: true,
  });
  const [mistake] = document.errors;
  if (mistake !== undefined) {
    const { line, col } = lines.linePos(mistake.pos[0]);
    throw configurationError(`${path}:${line}:${col}: ${firstLine(mistake.message)}`, {
      path,
      line,
    });
  }
  const value = valueOfDocument(document, path);
  if (value === null) return {};
  const parsed = deepPartial(ConfigurationSchema).safeParse(value);
  if (parsed.success) return parsed.data as Json;
  const [issue] = parsed.error.issues;
  const at = positionOf(document.contents, issue!, lines);
  throw configurationError(`${path}:${at.line}:${at.col}: ${describe(issue!)}`, {
    path,
    line: at.line,
  });
}

function valueOfDocument(document: ReturnType<typeof parseDocument>, path: string): unknown {
  try {
    return document.toJS({ maxAliasCount: 20 });
  } catch (error) {
    // An alias without its anchor, or too many of them, shows only here.
    const fault = error instanceof Error ? firstLine(error.message) : String(error);
    throw configurationError(`${path}: ${fault}`, { path });
  }
}

function positionOf(
  root: unknown,
  issue: z.core.$ZodIssue,
  lines: LineCounter,
): { line: number; col: number } {
  const keys = [
    ...issue.path,
    ...(issue.code === "unrecognized_keys" ? issue.keys.slice(0, 1) : []),
  ];
  let node: unknown = root;
  let offset = 0;
  for (const key of keys) {
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && item.key.value === key);
      if (pair === undefined) break;
      offset = (isScalar(pair.key) ? pair.key.range?.[0] : undefined) ?? offset;
      node = pair.value;
    } else if (isSeq(node) && typeof key === "number") {
      const item = node.items[key];
      offset = (isNode(item) ? item.range?.[0] : undefined) ?? offset;
      node = item;
    } else break;
  }
  return lines.linePos(offset);
}

function describe(issue: z.core.$ZodIssue): string {
  const setting = issue.path.join(".");
  if (issue.code === "unrecognized_keys") {
    const key = issue.keys[0]!;
    const near = nearest(key, settingNames(issue.path));
    const full = [...issue.path, key].join(".");
    return `there is no setting ${full}${near === undefined ? "" : `; did you mean ${near}?`}`;
  }
  return `${setting || "the file"}: ${issue.message}`;
}

function settingNames(path: readonly PropertyKey[]): string[] {
  let schema: z.ZodType | undefined = ConfigurationSchema;
  for (const key of path) {
    if (schema instanceof z.ZodObject)
      schema = schema.shape[key as string] as z.ZodType | undefined;
    else if (schema instanceof z.ZodRecord) schema = schema.valueType as z.ZodType;
  }
  return schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
}

/** The name at most two letters away (Levenshtein). */
function nearest(text: string, names: readonly string[]): string | undefined {
  return names.find((name) => distance(text.toLowerCase(), name.toLowerCase()) <= 2);
}

function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++)
      next.push(
        Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)),
      );
    row = next;
  }
  return row[b.length]!;
}

/** Each setting may be left out, at the top and one level below it; a section whose lines are all comments is null. */
function deepPartial(schema: typeof ConfigurationSchema): z.ZodType {
  const shape: Record<string, z.ZodType> = {};
  for (const [key, value] of Object.entries(schema.shape))
    shape[key] =
      value instanceof z.ZodString
        ? value.optional()
        : (value instanceof z.ZodObject ? value.partial() : value).nullish();
  return z.strictObject(shape);
}

function merge(target: Json, source: Json): void {
  for (const [key, value] of Object.entries(source)) {
    const inner = target[key];
    const section = ConfigurationSchema.shape[key as keyof typeof ConfigurationSchema.shape];
    if (section instanceof z.ZodObject && typeof value === "object" && value !== null)
      merge(inner as Json, value as Json);
    else if (value !== undefined && value !== null) target[key] = value;
  }
}

function applyText(target: Json, values: TextSettings, nameOf: (setting: string) => string): void {
  for (const [setting, text] of Object.entries(values)) {
    if (text === undefined || text === "") continue;
    const [section, key] = setting.split(".") as [string, string?];
    const schema = schemaOf(section, key);
    const value = valueOf(schema, text);
    const parsed = schema.safeParse(value);
    if (!parsed.success)
      throw configurationError(`${nameOf(setting)}: ${parsed.error.issues[0]!.message}`, {
        setting,
      });
    if (key === undefined) target[section] = parsed.data;
    else (target[section] as Json)[key] = parsed.data;
  }
}

function schemaOf(section: string, key: string | undefined): z.ZodType {
  const found = ConfigurationSchema.shape[section as keyof typeof ConfigurationSchema.shape];
  const inner =
    key !== undefined && found instanceof z.ZodObject
      ? (found.shape as Record<string, z.ZodType>)[key]
      : found;
  if (inner === undefined)
    throw new CodedError("ERR_CONFIG", `there is no setting ${section}.${key}`);
  return inner;
}

function valueOf(schema: z.ZodType, text: string): unknown {
  const plain = schema instanceof z.ZodOptional ? schema.unwrap() : schema;
  if (plain instanceof z.ZodArray)
    return text
      .split(",")
      .map((part) => part.trim())
      .filter((part) => part !== "" && part !== "none");
  if (plain instanceof z.ZodNumber) return Number(text);
  if (plain instanceof z.ZodBoolean)
    return { true: true, false: false, "1": true, "0": false }[text];
  return text;
}

function firstLine(text: string): string {
  return text.split("\n")[0]!;
}
