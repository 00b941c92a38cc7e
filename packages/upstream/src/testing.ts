/** A scripted registry on a real socket, for tests of whatever pulls. @packageDocumentation */
export type { Quirk, RecordedRequest } from "./scripted-answer.ts";
export {
  createQuirkyRegistry,
  QUIRKY_REGISTRIES,
  type QuirkyRegistry,
  type RegistryQuirk,
} from "./scripted-quirks.ts";
export {
  createTestCertificates,
  type TestCertificates,
  type TestCertificatesInit,
} from "./test-certificates.ts";
export { createSecrets, findSecrets, type SecretPlaces, type Secrets } from "./secret-scan.ts";
export type { LibraryImage } from "./scripted-library.ts";
export {
  createScriptedRegistry,
  type ScriptedAuth,
  type ScriptedImage,
  type ScriptedRegistry,
  type ScriptedRegistryInit,
} from "./scripted-registry.ts";
