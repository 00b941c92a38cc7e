import { readFile, writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { configurationReference } from "../src/reference.ts";

const PAGE = new URL("../../../docs/configuration.md", import.meta.url);
const REFRESH =
  "docs/configuration.md is not what the schema gives; refresh it with `UPDATE_DOCS=1 npx vitest run --config test/vitest.config.ts packages/daemon/test/reference.test.ts`";

test("docs/configuration.md says what the schema says", async () => {
  const reference = configurationReference();
  if (process.env["UPDATE_DOCS"] === "1") await writeFile(PAGE, reference);
  const page = await readFile(PAGE, "utf8").catch(() => "");
  expect(page, REFRESH).toBe(reference);
});
