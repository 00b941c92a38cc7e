import { connect } from "node:net";
import { connect as connectTls } from "node:tls";

const ANSWER_MS = 2000;

/**
 * What is at an address. `shoal`: it speaks as a member does at that port. `other`: it takes connections
 * and does not speak so, as a program of another kind does, or a proxy that answers for every address.
 */
export type Answer = "shoal" | "other" | "closed";

export type Probe = (host: string, port: number) => Promise<Answer>;

/** Who answers at the ports that members have for each other. */
export interface PortProbes {
  readonly swarm: Probe;
  readonly bulk: Probe;
}

/** multistream-select 1.0.0, with which each connection between members begins: length, line, its end. */
const HELLO = "\u0013/multistream/1.0.0\n";
/** A protocol that there is not, so that an echo gives itself away: the answer is `na`. */
const QUESTION = Buffer.from(`${HELLO}\u0010/shoal/doctor/0\n`);
const ANSWER = Buffer.from(`${HELLO}\u0003na\n`);

/** Says what a member says first, and hears whether it is answered as a member does. */
const probeSwarm: Probe = async (host, port) => {
  const { promise, resolve } = Promise.withResolvers<Answer>();
  const socket = connect({ host, port, timeout: ANSWER_MS });
  const heard: Buffer[] = [];
  let isOpen = false;
  socket.on("connect", () => {
    isOpen = true;
    socket.write(QUESTION);
  });
  socket.on("data", (chunk: Buffer) => {
    heard.push(chunk);
    const said = Buffer.concat(heard);
    if (said.length >= ANSWER.length)
      resolve(said.subarray(0, ANSWER.length).equals(ANSWER) ? "shoal" : "other");
  });
  const end = (): void => resolve(isOpen ? "other" : "closed");
  socket.on("timeout", end).on("error", end).on("close", end);
  try {
    return await promise;
  } finally {
    socket.destroy();
  }
};

/**
 * Shows a key that no member has granted. The port refuses it by the TLS alert handshake_failure, without a
 * certificate; whatever has a certificate, or speaks no TLS, is something else.
 */
const probeBulk: Probe = async (host, port) => {
  const { promise, resolve } = Promise.withResolvers<Answer>();
  const socket = connect({ host, port, timeout: ANSWER_MS });
  let isOpen = false;
  const end = (): void => resolve(isOpen ? "other" : "closed");
  socket.on("connect", () => {
    isOpen = true;
    const tls = connectTls({
      socket,
      minVersion: "TLSv1.3",
      ciphers: "TLS_AES_128_GCM_SHA256",
      pskCallback: () => ({ psk: Buffer.alloc(32), identity: "shoal-doctor" }),
      checkServerIdentity: () => undefined,
    });
    tls.on("secureConnect", end).on("close", end);
    tls.on("error", ({ code }: NodeJS.ErrnoException) =>
      resolve(code === "ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE" ? "shoal" : "other"),
    );
  });
  socket.on("timeout", end).on("error", end).on("close", end);
  try {
    return await promise;
  } finally {
    socket.destroy();
  }
};

export const portProbes: PortProbes = { swarm: probeSwarm, bulk: probeBulk };
