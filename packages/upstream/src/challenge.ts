/** One challenge of a `WWW-Authenticate` header. RFC 9110, section 11.6.1. */
export interface Challenge {
  /** In lower case: `bearer`, `basic`. */
  readonly scheme: string;
  /** Names in lower case; of a name given twice the first value counts. */
  readonly parameters: ReadonlyMap<string, string>;
}

const TOKEN = /[!#$%&'*+\-.^_`|~0-9A-Za-z]+/y;
const QUOTED = /"((?:[^"\\]|\\[\s\S])*)"/y;
/** Registries write URLs and scopes without quotes, too; a comma or a blank ends them. */
const BARE_VALUE = /[^\s,"=][^\s,"]*/y;
const SPACE = /[ \t]*/y;
const SEPARATORS = /[ \t,]*/y;

/**
 * Reads the challenges of a header, in order; what can't be read is passed over. Several header lines
 * are to be joined with `, `. Never throws.
 */
export function parseChallenges(header: string): readonly Challenge[] {
  const challenges: { scheme: string; parameters: Map<string, string> }[] = [];
  let at = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = at;
    const match = pattern.exec(header);
    if (match !== null) at = pattern.lastIndex;
    return match;
  };

  while (at < header.length) {
    take(SEPARATORS);
    const word = take(TOKEN)?.[0];
    if (word === undefined) {
      at += 1;
      continue;
    }
    const afterWord = at;
    take(SPACE);
    if (header[at] !== "=") {
      at = afterWord;
      challenges.push({ scheme: word.toLowerCase(), parameters: new Map() });
      continue;
    }
    at += 1;
    take(SPACE);
    const value = take(QUOTED)?.[1]?.replace(/\\([\s\S])/g, "$1") ?? take(BARE_VALUE)?.[0];
    // `abc==` is a token68 of another scheme and not a parameter.
    if (value === undefined) continue;
    const parameters = challenges.at(-1)?.parameters;
    const name = word.toLowerCase();
    if (parameters !== undefined && !parameters.has(name)) parameters.set(name, value);
  }
  return challenges;
}

/**
 * The scope to ask a token for: the challenge's where it names one repository to pull from, else
 * `repository:<name>:pull`. Registries send none, an empty one, or words such as `aws`.
 * Never asks for more than to pull.
 */
export function pullScope(challenged: string | undefined, repositoryName: string): string {
  const match = /^(repository(?:\([a-z0-9]+\))?):([a-z0-9][a-z0-9._/:-]*):([a-z,*]+)$/.exec(
    challenged ?? "",
  );
  return match !== null && match[3]!.split(",").includes("pull")
    ? `${match[1]}:${match[2]}:pull`
    : `repository:${repositoryName}:pull`;
}
