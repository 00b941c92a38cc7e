import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const DAYS = "2";
const NEW_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes".split(" ");

/** A server's certificate of an authority that nobody knows but those who are told of it; PEM. Disposing removes it. */
export interface TestCertificates extends Disposable {
  readonly folder: string;
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
  /** What `certFile` and `keyFile` hold. */
  readonly cert: string;
  readonly key: string;
}

export interface TestCertificatesInit {
  /** In which a folder is made. @default the system's temporary one */
  readonly parent?: string;
  /** Beside 127.0.0.1 and localhost. @default none */
  readonly address?: string;
  /** DNS names beside localhost. @default none */
  readonly names?: readonly string[];
}

/** Makes an authority and a certificate of it. Needs openssl, of `OPENSSL` or the path. */
export function createTestCertificates(init: TestCertificatesInit = {}): TestCertificates {
  const { parent = tmpdir(), address } = init;
  const program = process.env["OPENSSL"] ?? "openssl";
  const folder = mkdtempSync(join(parent, "shoal-ca-"));
  const openssl = (text: string, ...more: readonly string[]): void => {
    execFileSync(program, [...text.split(" "), ...more], { cwd: folder, stdio: "pipe" });
  };
  const file = (name: string): string => join(folder, name);
  const ips = new Set([address ?? "127.0.0.1", "127.0.0.1"]);
  const names = [...ips].map((ip) => `IP:${ip}`);
  names.push(...["localhost", ...(init.names ?? [])].map((name) => `DNS:${name}`));
  openssl(`req -x509 -keyout ca.key -out ca.pem -days ${DAYS} -subj /CN=authority`, ...NEW_KEY);
  openssl("req -keyout leaf.key -out leaf.csr -subj /CN=server", ...NEW_KEY);
  const extensions = [`subjectAltName=${names.join(",")}`, "basicConstraints=critical,CA:FALSE"];
  writeFileSync(file("leaf.ext"), `${extensions.join("\n")}\n`);
  openssl(
    `x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out leaf.pem -days ${DAYS} -extfile leaf.ext`,
  );
  return {
    folder,
    caFile: file("ca.pem"),
    certFile: file("leaf.pem"),
    keyFile: file("leaf.key"),
    cert: readFileSync(file("leaf.pem"), "utf8"),
    key: readFileSync(file("leaf.key"), "utf8"),
    [Symbol.dispose]: () => rmSync(folder, { recursive: true }),
  };
}
