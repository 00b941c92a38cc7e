/** Fields that explain a failure to a program: plain values, never a credential. */
export type ErrorDetails = Readonly<Record<string, string | number | boolean | undefined>>;

export interface CodedErrorOptions {
  readonly cause?: unknown;
  readonly details?: ErrorDetails;
}

/**
 * The base of every failure that crosses a package. Callers match on `code`; people read `message`,
 * which says what went wrong and what to do next.
 */
export class CodedError<Code extends `ERR_${string}` = `ERR_${string}`> extends Error {
  override readonly name = "CodedError";
  readonly code: Code;
  readonly details: ErrorDetails;

  constructor(code: Code, message: string, options: CodedErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.details = options.details ?? {};
  }
}

/** Whether `error` is a {@link CodedError}, with that code if one is given. */
export function hasCode<Code extends `ERR_${string}`>(
  error: unknown,
  ...codes: readonly Code[]
): error is CodedError<Code> {
  return (
    error instanceof CodedError &&
    (codes.length === 0 || (codes as readonly string[]).includes(error.code))
  );
}
