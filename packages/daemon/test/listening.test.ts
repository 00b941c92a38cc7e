import { describe, expect, it } from "vitest";
import { listenHttp } from "../src/listening.ts";

/** Reserved for future use (RFC 1112, section 4): no machine has it. Sandboxes do have those of documentation. */
const ABSENT = "240.0.0.1:0";

describe("listening", () => {
  const listen = async (addresses: readonly string[]) =>
    await listenHttp((_request, response) => response.end("here"), {
      addresses,
      setting: "mirror.listen",
      graceMs: 0,
    });

  it("leaves out an address that this machine does not have while another is there", async () => {
    await using listening = await listen([ABSENT, "127.0.0.1:0"]);
    expect(listening.addresses).toHaveLength(1);
    expect(await (await fetch(`http://${listening.addresses[0]}`)).text()).toBe("here");
  });

  it.each([[[ABSENT]], [[ABSENT, "240.0.0.2:0"]]])("refuses to listen nowhere: %j", async (all) => {
    await expect(listen(all)).rejects.toMatchObject({
      code: "ERR_LISTEN",
      message: expect.stringMatching(/set mirror\.listen/) as never,
    });
  });

  it("names the setting of a port that is taken, and lets go of what it had", async () => {
    await using first = await listen(["127.0.0.1:0"]);
    const [taken] = first.addresses as [string];
    await expect(listen(["127.0.0.1:0", taken])).rejects.toMatchObject({
      code: "ERR_PORT_IN_USE",
      details: { address: taken },
      message: expect.stringMatching(/set mirror\.listen/) as never,
    });
  });

  it("listens nowhere when that is what is wanted", async () => {
    await using none = await listen([]);
    expect(none.addresses).toEqual([]);
  });
});
