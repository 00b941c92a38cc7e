/** The engine. @packageDocumentation */
export * from "./transport.ts";
export * from "./types.ts";
