import { expect, test } from "vitest";
import { readToken } from "../src/token-input.ts";
import { tokenIn } from "../src/token-text.ts";

const TOKEN = "shoal1-k6grw6zs-6p1qewxw-015qg71p-6x0h76gf-frrxsmm6";

test.each([
  [`${TOKEN}\n`, TOKEN],
  [`\n> shoal-workspace@0.1.0 shoal\n> node packages/cli/src/main.ts token\n\n${TOKEN}\n`, TOKEN],
  [JSON.stringify({ token: TOKEN }), TOKEN],
  [`  ${TOKEN.toUpperCase()}  \nmore`, TOKEN.toUpperCase()],
  [TOKEN.replaceAll("-", " "), TOKEN.replaceAll("-", " ")],
  [TOKEN.slice(0, -4), TOKEN.slice(0, -4)],
  ["something else\nand more", "something else"],
  ["", ""],
])("finds the token in %j", (text, token) => {
  expect(tokenIn(text)).toBe(token);
});

function terminal(keys: readonly string[]) {
  const raw: boolean[] = [];
  const told: string[] = [];
  const stdin = {
    isTTY: true,
    setRawMode: (on: boolean) => raw.push(on),
    async *[Symbol.asyncIterator]() {
      yield* keys;
    },
  };
  const tell = (text: string): void => void told.push(text);
  return { raw, told, read: async () => await readToken({ env: {}, stdin, tell }) };
}

test("what is typed is edited, and not shown", async () => {
  const { raw, told, read } = terminal(["sho", "x\u007Fal1-", "ab\b", "c", "\r"]);
  expect(await read()).toEqual({ text: "shoal1-ac", source: "the terminal" });
  expect(raw).toEqual([true, false]);
  expect(told.join("")).not.toContain("shoal1");
});

test("Ctrl-C ends the wait, and gives the terminal back", async () => {
  const { raw, read } = terminal(["sho", "\u0003"]);
  await expect(read()).rejects.toMatchObject({ code: "ERR_INTERRUPTED" });
  expect(raw).toEqual([true, false]);
});
