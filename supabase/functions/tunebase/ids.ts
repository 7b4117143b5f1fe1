/** Public ids: a prefix and the row's UUID in hex. They are reversible and sort by time. */
import type { ErrorCode } from "../_shared/contracts/error_codes.ts";
import { ApiError } from "../_shared/errors.ts";

export const prefixes = {
  job: "ftjob-",
  file: "file-",
  event: "ftevent-",
  checkpoint: "ftckpt-",
  evaluation: "eval_",
  project: "proj_",
  user: "user-",
  apiKey: "key_",
  invitation: "invite-",
  upload: "upload_",
  part: "part_",
  completion: "chatcmpl-",
  webhookEndpoint: "whe_",
  webhookDelivery: "whd_",
  webhookEvent: "evt_",
  notification: "ntf_",
  notificationChannel: "nch_",
} as const;
export type IdKind = keyof typeof prefixes;

/** `ftjob-0192…` for a UUID. */
export function publicId(kind: IdKind, uuid: string): string {
  return prefixes[kind] + uuid.replaceAll("-", "");
}

/** The UUID in a public id, or null if the id is invalid or of another kind. Accepts plain UUIDs too. */
export function parseId(kind: IdKind, id: string): string | null {
  const prefix = prefixes[kind];
  const digits = (id.startsWith(prefix) ? id.slice(prefix.length) : id).replaceAll("-", "").toLowerCase();
  if (!/^[0-9a-f]{32}$/.test(digits)) return null;
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** The UUID in a path's id. Throws a 404 (`code`) if the id is malformed. */
export function pathId(kind: IdKind, id: string | undefined, code: ErrorCode): string {
  const uuid = parseId(kind, id ?? "");
  if (uuid === null) throw ApiError.of(code);
  return uuid;
}

/** The UUID in a list's cursor, or null if there is none. */
export function cursor(kind: IdKind, after: string | undefined): string | null {
  if (after === undefined || after === "") return null;
  const uuid = parseId(kind, after);
  if (uuid === null) {
    throw new ApiError("cursor_not_found", [{
      param: "after",
      message: `after = ${JSON.stringify(after)}: must be the id of an item in this list (${
        prefixes[kind]
      }…).`,
    }]);
  }
  return uuid;
}

/** The project in a user's `openai-project` header. */
export function parseProjectId(id: string): string {
  const uuid = parseId("project", id);
  if (uuid === null) throw ApiError.of("project_not_found");
  return uuid;
}

/** A UUIDv7 (RFC 9562), which sorts by time. The runtime has no built-in. */
export function uuid7(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  new DataView(bytes.buffer).setBigUint64(
    0,
    BigInt(Date.now()) << 16n | BigInt(0x7000 | (bytes[6] ?? 0) << 8 & 0xf00 | (bytes[7] ?? 0)),
  );
  bytes[8] = (bytes[8] ?? 0) & 0x3f | 0x80;
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")
    .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
