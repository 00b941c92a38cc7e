/** `algorithm:hex`, sha256 or sha512, made only by `parseDigest` or a digester. OCI image spec, descriptor.md. */
export type Digest = string & { readonly __brand: "Digest" };

/** A registry host with its port where it has one: `docker.io`, `ghcr.io`, `registry.lab:5000`. */
export type RegistryHost = string & { readonly __brand: "RegistryHost" };

/** `<name>` of the distribution spec: `library/alpine`. */
export type RepositoryName = string & { readonly __brand: "RepositoryName" };

/** A tag of the distribution spec: at most 128 of `[A-Za-z0-9_.-]`. */
export type Tag = string & { readonly __brand: "Tag" };

/** Where content lives: one repository of one registry. */
export interface Repository {
  readonly registry: RegistryHost;
  readonly name: RepositoryName;
}

/** An image reference in full: defaults (docker.io, library/, latest) are already applied. */
export interface Reference {
  readonly repository: Repository;
  readonly tag?: Tag;
  readonly digest?: Digest;
}

export interface Platform {
  readonly architecture: string;
  readonly os: string;
  readonly variant?: string;
  readonly "os.version"?: string;
  readonly "os.features"?: readonly string[];
}

/** OCI image spec, descriptor.md. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  readonly platform?: Platform;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly urls?: readonly string[];
  readonly artifactType?: string;
}

/** What a manifest's bytes name, whichever of the media types they have. */
export interface ParsedManifest {
  readonly kind: "manifest" | "index" | "opaque";
  /** From the body's `mediaType`, else the `Content-Type` given. */
  readonly mediaType: string;
  /** Config and layers in order; empty unless `manifest`. */
  readonly blobs: readonly Descriptor[];
  /** Child manifests; empty unless `index`. */
  readonly manifests: readonly Descriptor[];
  readonly subject?: Descriptor;
}
