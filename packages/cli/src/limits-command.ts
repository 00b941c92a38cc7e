import { CodedError, type LimitsChange, parseRate } from "@shoal/api";

/** The change that `NAME=VALUE` arguments ask for. @throws ERR_USAGE */
export function parseLimitsChange(settings: readonly string[]): LimitsChange {
  if (settings.length === 0)
    throw usage("nothing to set: write for example `shoal limits set uplink=20Mbit`");
  const change: LimitsChange = {};
  for (const setting of settings) {
    const [name, value = ""] = setting.split("=", 2);
    if (name === "uplink") change.uplinkBytesPerSecond = rateOf(setting, value);
    else if (name === "lan-upload") change.lanUploadBytesPerSecond = rateOf(setting, value);
    else if (name === "connections") change.uplinkConnections = countOf(setting, value);
    else throw usage(`there is no limit ${JSON.stringify(name)}: uplink, connections, lan-upload`);
  }
  return change;
}

function rateOf(setting: string, value: string): number | null {
  const rate = parseRate(value);
  if (rate === undefined)
    throw usage(`${JSON.stringify(setting)} has no rate: write 20Mbit, 2.5MB (a second) or none`);
  return rate;
}

function countOf(setting: string, value: string): number | null {
  if (value === "none") return null;
  if (/^[1-9]\d{0,5}$/.test(value)) return Number(value);
  throw usage(`${JSON.stringify(setting)} has no number: write for example 8, or none`);
}

function usage(message: string): CodedError<"ERR_USAGE"> {
  return new CodedError("ERR_USAGE", message);
}
