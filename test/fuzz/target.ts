import { isUtf8 } from "node:buffer";

/** A parser or decoder of input that nobody vouches for. */
export interface FuzzTarget {
  readonly name: string;
  /** Valid inputs, from which hostile ones are made. */
  readonly examples: readonly Uint8Array[];
  /** Valid inputs as values, with the way to write them. */
  readonly values?: {
    readonly of: readonly unknown[];
    readonly encode: (value: unknown) => Uint8Array;
  };
  /** Words of the format. */
  readonly dictionary: readonly Uint8Array[];
  /** Inputs are at most so long, as whoever calls the parser sees to. */
  readonly mostBytes: number;
  /** Codes of the errors by which it may refuse. */
  readonly refuses: readonly `ERR_${string}`[];
  /** Errors by which it may refuse besides: what its contract names. */
  readonly isRefusal?: (error: unknown) => boolean;
  /** No input is right, since the right one is of chance. */
  readonly neverAccepts?: boolean;
  /** @throws what is a fault, unless it is a refusal */
  readonly parse: (input: Uint8Array) => unknown;
}

type TextTarget = Omit<FuzzTarget, "examples" | "dictionary" | "refuses" | "parse" | "values"> & {
  readonly examples: readonly string[];
  readonly dictionary?: readonly string[];
  readonly refuses?: readonly `ERR_${string}`[];
  readonly values?: readonly unknown[];
  readonly parse: (input: string) => unknown;
};

/** A parser of text; its values, if it has any, are JSON. */
export function textTarget({
  examples,
  dictionary = [],
  refuses = [],
  values,
  parse,
  ...rest
}: TextTarget): FuzzTarget {
  return {
    ...rest,
    refuses,
    examples: examples.map((text) => Buffer.from(text)),
    dictionary: dictionary.map((text) => Buffer.from(text)),
    ...(values === undefined
      ? {}
      : { values: { of: values, encode: (value) => Buffer.from(jsonOf(value)) } }),
    // Text of headers is latin1, text of files UTF-8: both have been, when it is not valid UTF-8.
    parse: (input) =>
      parse(
        isUtf8(input) ? Buffer.from(input).toString("utf8") : Buffer.from(input).toString("latin1"),
      ),
  };
}

function jsonOf(value: unknown): string {
  return (
    JSON.stringify(value, (_key, part: unknown) =>
      part instanceof Uint8Array ? Buffer.from(part).toString("base64") : part,
    ) ?? "null"
  );
}

/** Throws unless it holds: what a parser gives must keep its promises. */
export function promise(holds: boolean, what: string): void {
  if (!holds) throw new BrokenPromise(what);
}

class BrokenPromise extends Error {}
