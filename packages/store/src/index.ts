/** Content-addressed store. @packageDocumentation */
export * from "./bitfield.ts";
export * from "./geometry.ts";
export * from "./types.ts";
