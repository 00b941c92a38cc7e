import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseChallenges, pullScope } from "../src/challenge.ts";

const read = (header: string) =>
  parseChallenges(header).map(({ scheme, parameters }) => [scheme, Object.fromEntries(parameters)]);

describe("parseChallenges", () => {
  test.each([
    [
      'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/alpine:pull"',
      [
        [
          "bearer",
          {
            realm: "https://auth.docker.io/token",
            service: "registry.docker.io",
            scope: "repository:library/alpine:pull",
          },
        ],
      ],
    ],
    ['BEARER Realm = "x" ,SERVICE=y', [["bearer", { realm: "x", service: "y" }]]],
    [
      'Basic realm="a, \\"b\\"", Bearer realm=c',
      [
        ["basic", { realm: 'a, "b"' }],
        ["bearer", { realm: "c" }],
      ],
    ],
    ["Negotiate", [["negotiate", {}]]],
    [
      'Negotiate abc==, Basic realm="x"',
      [
        ["negotiate", {}],
        ["basic", { realm: "x" }],
      ],
    ],
    ['Bearer realm="x",realm="y"', [["bearer", { realm: "x" }]]],
    ['Bearer realm="x",scope="",', [["bearer", { realm: "x", scope: "" }]]],
    [
      "Bearer realm=https://a.example/token?x,service=s",
      [["bearer", { realm: "https://a.example/token?x", service: "s" }]],
    ],
    ['realm="x"', []],
    [
      'Bearer realm="never closed',
      [
        ["bearer", {}],
        ["never", {}],
        ["closed", {}],
      ],
    ],
    ["", []],
    [" , ;;", []],
  ])("reads %s", (header, expected) => {
    expect(read(header)).toEqual(expected);
  });

  test("reads every challenge that is written by the grammar", () => {
    const token = fc.stringMatching(/^[a-z][a-z0-9-]{0,8}$/);
    const challenge = fc.record({
      scheme: token,
      parameters: fc.dictionary(token, fc.string({ maxLength: 12 }), {
        minKeys: 1,
        maxKeys: 4,
        noNullPrototype: true,
      }),
    });
    const spaces = fc.constantFrom("", " ", "\t ");
    fc.assert(
      fc.property(
        fc.array(challenge, { maxLength: 4 }),
        spaces,
        fc.boolean(),
        (challenges, space, upper) => {
          const name = (text: string): string => (upper ? text.toUpperCase() : text);
          const header = challenges
            .map(({ scheme, parameters }) => {
              const parts = Object.entries(parameters).map(
                ([key, value]) =>
                  `${name(key)}${space}=${space}"${value.replace(/[\\"]/g, "\\$&")}"`,
              );
              return `${name(scheme)} ${parts.join(`${space},${space}`)}`;
            })
            .join(", ");
          expect(read(header)).toEqual(
            challenges.map(({ scheme, parameters }) => [scheme, parameters]),
          );
        },
      ),
    );
  });

  test("never throws and never hangs on junk", () => {
    const junk = fc.array(
      fc.constantFrom("Bearer", "basic", "=", '"', ",", " ", "\\", "a", "==", "\t", "ü", "/"),
      { maxLength: 60 },
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          junk.map((parts) => parts.join("")),
        ),
        (header) => {
          expect(Array.isArray(parseChallenges(header))).toBe(true);
        },
      ),
    );
  });
});

describe("pullScope", () => {
  test.each([
    [undefined, "repository:team/app:pull"],
    ["", "repository:team/app:pull"],
    ["aws", "repository:team/app:pull"],
    ["repository:other/name:pull", "repository:other/name:pull"],
    ["repository(plugin):other/name:pull", "repository(plugin):other/name:pull"],
    ["repository:other/name:pull,push,delete", "repository:other/name:pull"],
    ["repository:other/name:push", "repository:team/app:pull"],
    ["repository:a:pull repository:b:pull", "repository:team/app:pull"],
    ["registry:catalog:*", "repository:team/app:pull"],
  ])("of %s is %s", (challenged, expected) => {
    expect(pullScope(challenged, "team/app")).toBe(expected);
  });
});
