/**
 * The `shoal` command: a thin reader and writer of the daemon's socket API.
 *
 * ```ts
 * const program = createProgram({ terminal, env, uid, stdin, interrupted, exit });
 * await program.parseAsync(["node", "shoal", "status"]);
 * ```
 *
 * @packageDocumentation
 */
export { createProgram, type ProgramContext } from "./program.ts";
