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
          include: [
            "packages/*/test/**/*.test.ts",
            "test/*.test.ts",
            "test/{e2e,fuzz,chaos}/**/*.test.ts",
          ],
          testTimeout: 20_000,
        },
      },
      {
        root,
        test: {
          name: "interop",
          include: ["test/interop/**/*.test.ts"],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          // Every suite has the machine to itself: rates and deadlines are measured in it.
          fileParallelism: false,
          // What is told to run at once in a suite does.
          maxConcurrency: 20,
          sequence: { groupOrder: 1 },
        },
      },
    ],
  },
});
