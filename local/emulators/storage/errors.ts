/** Storage's errors: mostly HTTP 400 with the real status in the body. */

const known = {
  NoSuchKey: ["404", "not_found", "Object not found"],
  NoSuchBucket: ["404", "Bucket not found", "Bucket not found"],
  KeyAlreadyExists: ["409", "Duplicate", "The resource already exists"],
  EntityTooLarge: ["413", "Payload too large", "The object exceeded the maximum allowed size"],
  InvalidMimeType: ["415", "invalid_mime_type", "mime type is not supported"],
  AccessDenied: ["403", "Unauthorized", "new row violates row-level security policy"],
  InvalidJWT: ["400", "InvalidJWT", "jwt expired or malformed"],
  InvalidSignature: ["400", "InvalidSignature", "The URL is not the one that was signed"],
  InvalidRange: ["416", "InvalidRange", "The requested range cannot be satisfied"],
  InvalidKey: ["400", "InvalidKey", "Invalid key"],
  InvalidRequest: ["400", "Error", "The request is not valid"],
} as const satisfies Record<string, readonly [string, string, string]>;

/** Thrown anywhere under storage/; `mod.ts` renders it. */
export class StorageError extends Error {
  constructor(readonly code: keyof typeof known, message?: string) {
    super(message ?? known[code][2]);
  }

  /** A bad range has its own HTTP status; everything else is 400. */
  response(): Response {
    const [statusCode, error] = known[this.code];
    return Response.json(
      { statusCode, error, message: this.message, code: this.code },
      { status: this.code === "InvalidRange" ? 416 : 400 },
    );
  }

  /** The same for resumable uploads: real statuses and plain text. */
  get plain(): { status_code: number; body: string } {
    return { status_code: Number(known[this.code][0]), body: this.message };
  }
}
