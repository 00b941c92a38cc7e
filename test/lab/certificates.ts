import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { run } from "./run.ts";

const DAYS = 2;

/** PEM files of a server whose authority nobody knows but those who are told of it. */
export interface ServerCertificate {
  readonly caFile: string;
  readonly certificateFile: string;
  readonly keyFile: string;
}

/** Makes an authority and a server's certificate for an IP address. Needs openssl. */
export async function createServerCertificate(
  folder: string,
  address: string,
): Promise<ServerCertificate> {
  await mkdir(folder, { recursive: true });
  const file = (name: string): string => join(folder, name);
  const request = async (text: string, ...argv: readonly string[]): Promise<unknown> =>
    await run([..."openssl req -x509 -newkey ec -nodes".split(" "), ...text.split(" "), ...argv]);
  const curve = `-pkeyopt ec_paramgen_curve:P-256 -days ${DAYS}`;
  await request(
    `${curve} -subj /CN=authority -addext keyUsage=critical,keyCertSign`,
    "-keyout",
    file("ca.key"),
    "-out",
    file("ca.pem"),
  );
  await request(
    `${curve} -subj /CN=${address} -addext subjectAltName=IP:${address} -addext basicConstraints=critical,CA:FALSE`,
    "-CA",
    file("ca.pem"),
    "-CAkey",
    file("ca.key"),
    "-keyout",
    file("server.key"),
    "-out",
    file("server.pem"),
  );
  return {
    caFile: file("ca.pem"),
    certificateFile: file("server.pem"),
    keyFile: file("server.key"),
  };
}
