import * as z from "zod";
import { ConfigurationSchema, defaultConfiguration } from "./configuration.ts";
import { flagOf, VARIABLES } from "./load-configuration.ts";

const ROOT = { env: {}, uid: 0 };

const INTRODUCTION = `# Configuration

Nothing has to be configured. Settings come from flags, else from variables of the environment, else from the file, else from their defaults.

The file is YAML: \`/etc/shoal/shoal.yaml\` for root, \`$XDG_CONFIG_HOME/shoal/shoal.yaml\` or \`~/.config/shoal/shoal.yaml\` for others; \`--config\` or \`SHOAL_CONFIG\` names another. A setting that does not exist is an error, told with its line (\`ERR_CONFIG\`).

\`\`\`yaml
swarm:
  peers: ["10.0.0.7:5056"]
registries:
  "registry.lab:5000":
    plainHttp: true
share:
  - registry: ghcr.io
    repository: org/private/*
    share: never
\`\`\`

Variables and flags take lists with commas between, and \`none\` for an empty one: \`npm start -- --metrics-listen none\`. The defaults below are root's; for others, \`state\` is \`$XDG_STATE_HOME/shoal\` or \`~/.local/state/shoal\`, and \`socket\` is in the user's runtime folder, or where there is none in the default state folder. \`–\` is none.
`;

/** The reference page of every setting, in Markdown, made from the schema. */
export function configurationReference(): string {
  const defaults = defaultConfiguration(ROOT) as unknown as Readonly<Record<string, unknown>>;
  const top: string[] = [];
  const sections: string[] = [];
  for (const [key, schema] of Object.entries(ConfigurationSchema.shape)) {
    const inner = innerShape(schema);
    if (inner === undefined) {
      top.push(row(key, schema, defaults[key]));
      continue;
    }
    const values = schema instanceof z.ZodObject ? defaults[key] : undefined;
    const rows = Object.entries(inner.shape).map(([name, setting]) =>
      row(
        `${key}${inner.infix}.${name}`,
        setting as z.ZodType,
        (values as Readonly<Record<string, unknown>> | undefined)?.[name],
      ),
    );
    sections.push(`## ${key}\n\n${schema.description ?? ""}.\n\n${table(rows)}`);
  }
  return `${[INTRODUCTION, `## The daemon\n\n${table(top)}`, ...sections].join("\n").trimEnd()}\n`;
}

/** The settings in a section, and what goes between its name and theirs. */
function innerShape(
  schema: z.ZodType,
): { readonly shape: Readonly<Record<string, unknown>>; readonly infix: string } | undefined {
  if (schema instanceof z.ZodObject) return { shape: schema.shape, infix: "" };
  if (schema instanceof z.ZodRecord && schema.valueType instanceof z.ZodObject)
    return { shape: schema.valueType.shape, infix: ".<host>" };
  if (schema instanceof z.ZodArray && schema.element instanceof z.ZodObject)
    return { shape: schema.element.shape, infix: "[]" };
  return undefined;
}

function table(rows: readonly string[]): string {
  return `| setting | type | default | variable | flag | means |\n|---|---|---|---|---|---|\n${rows.join("\n")}\n`;
}

function row(path: string, schema: z.ZodType, value: unknown): string {
  const variable = VARIABLES[path];
  const cells = [
    code(path),
    typeOf(schema),
    value === undefined ? "–" : code(JSON.stringify(value)),
    variable === undefined ? "–" : code(variable),
    variable === undefined ? "–" : code(`--${flagOf(path)}`),
    schema.description ?? plain(schema).description ?? "",
  ];
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}

function code(text: string): string {
  return `\`${text}\``;
}

function plain(schema: z.ZodType): z.ZodType {
  return schema instanceof z.ZodOptional ? (schema.unwrap() as z.ZodType) : schema;
}

function typeOf(schema: z.ZodType): string {
  const type = plain(schema);
  if (type instanceof z.ZodEnum)
    return type.options.map((option) => code(String(option))).join(", ");
  if (type instanceof z.ZodArray) return "list of texts";
  if (type instanceof z.ZodNumber) return "number";
  if (type instanceof z.ZodBoolean) return "`true`, `false`";
  return "text";
}
