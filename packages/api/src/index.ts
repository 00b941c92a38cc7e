/** The local socket API. @packageDocumentation */
export * from "./schema.ts";
