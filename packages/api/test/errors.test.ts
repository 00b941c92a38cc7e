import { expect, test } from "vitest";
import { transportError } from "../src/errors.ts";

// As root every socket opens, so what the transport reports is told by hand here.
test.each([
  ["EACCES", "ERR_SOCKET_PERMISSION", "group shoal"],
  ["EPERM", "ERR_SOCKET_PERMISSION", "sudo"],
  ["EACCES", "ERR_SOCKET_PERMISSION", "If there is no such group"],
  ["ENOTDIR", "ERR_DAEMON_UNREACHABLE", "is not there"],
  ["ECONNRESET", "ERR_DAEMON_UNREACHABLE", "closed the connection"],
  ["UND_ERR_HEADERS_TIMEOUT", "ERR_DAEMON_UNREACHABLE", "does not answer"],
  ["HPE_INVALID_CONSTANT", "ERR_API_PROTOCOL", "cannot be read"],
  ["EINVAL", "ERR_DAEMON_UNREACHABLE", "could not be reached: it broke"],
  [undefined, "ERR_DAEMON_UNREACHABLE", "could not be reached: it broke"],
])("%s becomes %s", (reason, code, text) => {
  const cause = Object.assign(new Error("it broke"), { code: reason });
  const error = transportError("GET /v1/status", cause, "/run/shoal/shoal.sock");
  expect(error).toMatchObject({ code, message: expect.stringContaining(text), cause });
});
