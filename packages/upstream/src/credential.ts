/** A login at a registry. Secret: it is never logged. */
export type Credential =
  | { readonly kind: "basic"; readonly username: string; readonly password: string }
  | { readonly kind: "identity-token"; readonly username: string; readonly token: string };

/** The value of an `Authorization` header. RFC 7617. */
export function basicAuthorization(credential: Credential): string {
  const secret = credential.kind === "basic" ? credential.password : credential.token;
  return `Basic ${Buffer.from(`${credential.username}:${secret}`, "utf8").toString("base64")}`;
}

/** Whether two logins are the same. */
export function isSameLogin(one: Credential, other: Credential): boolean {
  return one.kind === other.kind && basicAuthorization(one) === basicAuthorization(other);
}
