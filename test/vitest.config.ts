import { defineConfig } from "vitest/config";

const root = new URL("..", import.meta.url).pathname;

export default defineConfig({
  root,
  test: {
    reporters: ["default", "./test/count-reporter.ts"],
    projects: [
      {
        root,
        test: {
          name: "unit",
          include: ["packages/*/test/**/*.test.ts", "test/*.test.ts", "test/e2e/**/*.test.ts"],
          testTimeout: 20_000,
        },
      },
    ],
  },
});
