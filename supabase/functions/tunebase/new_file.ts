/** Creates files: validates, stores and records them. */
import { buckets } from "../_shared/contracts/buckets.ts";
import { rpc } from "../_shared/database/rpc.ts";
import { unavailable } from "../_shared/storage.ts";
import { wakeScheduler } from "../_shared/wake_scheduler.ts";
import type { concatBytes } from "./concat_bytes.ts";
import type { ApiContext } from "./context.ts";
import { checkWhole, sha256 } from "./converted_file.ts";
import { invalidFile } from "./file_upload.ts";
import { uuid7 } from "./ids.ts";
import type { IncomingFile } from "./incoming_file.ts";
import { FileRow } from "./rows.ts";

/** A new file before validation. */
export interface NewFile {
  id: string;
  filename: string;
  purpose: string;
  expires_after: number | null;
}

/** Validates and records a buffered file. Throws `invalid_file`. */
export async function recordFile(c: ApiContext, file: NewFile, incoming: IncomingFile): Promise<FileRow> {
  const { db } = c.get("platform");
  const caller = c.get("caller");
  if (incoming.kind === "stored") return await recordUnvalidated(c, file, incoming.object, incoming.size);
  const { bytes } = incoming;
  const { report, rows, converted, tooLarge } = checkWhole(bytes);
  if (report.errors.length > 0) throw invalidFile(report);
  if (tooLarge) {
    const object = await reserveObject(c, file.id, bytes.length);
    await storeObject(c, object, bytes);
    return await recordUnvalidated(c, file, object, bytes.length);
  }
  const canonical = converted?.bytes ?? bytes;
  const { source_format = null, ...conversion } = converted?.summary ?? {};
  const original = converted === null ? null : { bytes: bytes.length, sha256: await sha256(bytes) };
  const validated = {
    ...file,
    bytes: canonical.length,
    sha256: await sha256(canonical),
    report,
    rows,
    source_format,
    conversion: source_format === null ? null : conversion,
    original,
  };
  // Equal files of a project share their objects.
  const shared = await rpc(db, "share_file", { caller, file: validated }, FileRow.nullable());
  if (shared !== null) return shared;
  // If the isolate dies before the file is recorded, its objects are deleted after an hour.
  const object = await reserveObject(c, file.id, canonical.length + (original?.bytes ?? 0));
  await storeObject(c, object, canonical);
  if (original === null) {
    return await rpc(db, "create_file", { caller, file: { ...validated, object } }, FileRow);
  }
  const originalObject = await reserveObject(c, uuid7(), original.bytes);
  await storeObject(c, originalObject, bytes);
  return await rpc(db, "create_file", {
    caller,
    file: { ...validated, object, original: { ...original, object: originalObject } },
  }, FileRow);
}

/** Records a stored file for the scheduler to validate. */
async function recordUnvalidated(
  c: ApiContext,
  file: NewFile,
  object: string,
  bytes: number,
): Promise<FileRow> {
  const { db, settings, waitUntil } = c.get("platform");
  const row = await rpc(
    db,
    "create_unvalidated_file",
    { caller: c.get("caller"), file: { ...file, object, bytes } },
    FileRow,
  );
  waitUntil(wakeScheduler(settings));
  return row;
}

/** Reserves an object for a file and returns its name. Throws if it would exceed the project's storage quota. */
export function reserveObject(c: ApiContext, id: string, bytes: number): Promise<string> {
  return rpc(c.get("platform").db, "reserve_file_object", { caller: c.get("caller"), id, bytes });
}

/** Stores an object's bytes. */
export async function storeObject(
  c: ApiContext,
  object: string,
  data: ReturnType<typeof concatBytes> | ReadableStream<Uint8Array>,
): Promise<void> {
  const bucket = c.get("platform").supabase.storage.from(buckets.datasets);
  const { error } = await bucket.upload(object, data, { contentType: "application/jsonl", duplex: "half" });
  if (error !== null) throw unavailable(`storing ${object}`, error);
}
