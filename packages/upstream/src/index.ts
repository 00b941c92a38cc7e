/** Registry client. @packageDocumentation */
export * from "./types.ts";
