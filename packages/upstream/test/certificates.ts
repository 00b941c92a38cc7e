import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A certificate authority of its own, and a certificate of it for 127.0.0.1 and localhost. */
export interface TestCertificates extends Disposable {
  readonly caFile: string;
  readonly folder: string;
  readonly key: string;
  readonly cert: string;
}

export function makeCertificates(): TestCertificates {
  const program = process.env["OPENSSL"] ?? "openssl";
  const folder = mkdtempSync(join(tmpdir(), "shoal-ca-"));
  const openssl = (...args: string[]): void => {
    execFileSync(program, args, { cwd: folder, stdio: "pipe" });
  };
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  openssl(
    "req",
    "-x509",
    ...newKey,
    "-keyout",
    "ca.key",
    "-out",
    "ca.pem",
    "-days",
    "2",
    "-subj",
    "/CN=test authority",
  );
  openssl("req", ...newKey, "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", "/CN=127.0.0.1");
  writeFileSync(join(folder, "leaf.ext"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n");
  openssl(
    "x509",
    "-req",
    "-in",
    "leaf.csr",
    "-CA",
    "ca.pem",
    "-CAkey",
    "ca.key",
    "-CAcreateserial",
    "-out",
    "leaf.pem",
    "-days",
    "2",
    "-extfile",
    "leaf.ext",
  );
  return {
    folder,
    caFile: join(folder, "ca.pem"),
    key: readFileSync(join(folder, "leaf.key"), "utf8"),
    cert: readFileSync(join(folder, "leaf.pem"), "utf8"),
    [Symbol.dispose]() {
      rmSync(folder, { recursive: true });
    },
  };
}
