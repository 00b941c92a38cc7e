import { parseSiteToken } from "../src/index.ts";
import { createMember } from "./support.ts";

/** A member in a process of its own, until that is killed: `member-process.ts TOKEN PEER…`. */
const [token = "", ...peers] = process.argv.slice(2);
await createMember({ token: parseSiteToken(token), peers });
setInterval(() => undefined, 1000);
process.on("disconnect", () => process.exit());
