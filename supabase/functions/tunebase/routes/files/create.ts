/**
 * POST /files: a multipart form with `file` and `purpose`, in either order. Small files are validated before they are
 * stored. Larger ones are streamed to Storage and validated in the background.
 */
import { buckets } from "../../../_shared/contracts/buckets.ts";
import * as z from "zod";
import { wakeScheduler } from "../../../_shared/urls.ts";
import { rpc } from "../../../_shared/database/rpc.ts";
import { ApiError } from "../../../_shared/errors.ts";
import { unavailable } from "../../../_shared/storage.ts";
import { parseOrThrow, strictObject } from "../../../_shared/validation.ts";
import type { ApiContext } from "../../context.ts";
import { checkWhole, sha256 } from "../../converted_file.ts";
import { uuid7 } from "../../ids.ts";
import { type IncomingFile, receiveFile } from "../../incoming_file.ts";
import type { concatBytes } from "../../concat_bytes.ts";
import { formEnvelope, readForm } from "../../multipart.ts";
import {
  expiresAfterForm,
  expiryFieldsTogether,
  invalidFile,
  Purpose,
  rejectIncompleteExpiry,
} from "../../file_upload.ts";
import { renderFile } from "../../serializers/fine_tuning.ts";
import { FileRow } from "../../rows.ts";
import { defineRoute } from "../define.ts";

const Form = strictObject({ purpose: Purpose, ...expiresAfterForm });

/** A new file before validation. */
interface NewFile {
  id: string;
  filename: string;
  purpose: string;
  expires_after: number | null;
}

async function createFile(c: ApiContext): Promise<Response> {
  const { db, supabase, settings } = c.get("platform");
  // Reject unauthorized callers before reading the body.
  await rpc(db, "authorize", { caller: c.get("caller"), scope: "files:write" });
  const id = uuid7();
  const declared = Number(c.req.header("content-length") ?? 0) - formEnvelope;
  const stored: string[] = [];
  try {
    const form = await readForm(
      c.req.raw,
      { part: "file", max: settings.maxUploadBytes, tooLarge: () => tooLarge(settings.maxUploadBytes) },
      (part) =>
        receiveFile(part, settings.maxUploadBytes, declared, async (data, minSize) => {
          const object = await reserve(c, id, minSize);
          stored.push(object);
          await store(c, object, data);
          return object;
        }),
    );
    rejectIncompleteExpiry(form.fields);
    const { purpose, "expires_after[seconds]": expires_after } = parseOrThrow(Form, form.fields);
    if (form.file === null) {
      throw new ApiError("invalid_request", [{
        param: "file",
        message: "file: is required, as a form part with a file name. With curl: -F file=@data.jsonl",
      }]);
    }
    const file = { id, filename: form.file.filename, purpose, expires_after: expires_after ?? null };
    return c.json(renderFile(await record(c, file, form.file)));
  } catch (error) {
    // After a server error the file may exist. Its object, if unused, is deleted after an hour.
    if (stored.length > 0 && error instanceof ApiError && error.entry.status < 500) {
      await supabase.storage.from(buckets.datasets).remove(stored);
    }
    throw error;
  }
}

function tooLarge(max: number): ApiError {
  return new ApiError("too_large", [{
    param: "file",
    message:
      `file: is larger than ${max / 2 ** 20} MiB, the maximum for POST /files. Upload larger files through ` +
      "/uploads (the SDKs' uploads.create, upload_file_chunked) or /files/direct.",
  }]);
}

async function record(c: ApiContext, file: NewFile, incoming: IncomingFile): Promise<FileRow> {
  const { db } = c.get("platform");
  const caller = c.get("caller");
  if (incoming.kind === "stored") return await recordUnvalidated(c, file, incoming.object, incoming.size);
  const { bytes } = incoming;
  const { report, rows, converted, tooLarge } = checkWhole(bytes);
  if (report.errors.length > 0) throw invalidFile(report);
  if (tooLarge) {
    const object = await reserve(c, file.id, bytes.length);
    await store(c, object, bytes);
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
  const object = await reserve(c, file.id, canonical.length + (original?.bytes ?? 0));
  await store(c, object, canonical);
  if (original === null) {
    return await rpc(db, "create_file", { caller, file: { ...validated, object } }, FileRow);
  }
  const originalObject = await reserve(c, uuid7(), original.bytes);
  await store(c, originalObject, bytes);
  return await rpc(db, "create_file", {
    caller,
    file: { ...validated, object, original: { ...original, object: originalObject } },
  }, FileRow);
}

/** Records a stored file that the scheduler is to validate. */
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
function reserve(c: ApiContext, id: string, bytes: number): Promise<string> {
  return rpc(c.get("platform").db, "reserve_file_object", { caller: c.get("caller"), id, bytes });
}

async function store(
  c: ApiContext,
  object: string,
  data: ReturnType<typeof concatBytes> | ReadableStream<Uint8Array>,
): Promise<void> {
  const bucket = c.get("platform").supabase.storage.from(buckets.datasets);
  const { error } = await bucket.upload(object, data, { contentType: "application/jsonl", duplex: "half" });
  if (error !== null) throw unavailable(`storing ${object}`, error);
}

export const routes = [
  defineRoute({
    method: "POST",
    path: "/files",
    id: "createFile",
    summary: "Upload a training file",
    description:
      "JSONL, a JSON array, CSV or TSV, plain or gzipped, up to 32 MiB. Other formats are converted to chat or preference rows. Files up to 4 MiB are validated in the request, and a 400 lists the errors; larger files are validated in the background. Above 32 MiB, use /uploads or /files/direct.",
    scope: "files:write",
    form: () => Form.extend({ file: z.file() }).meta({ dependentRequired: expiryFieldsTogether }),
    response: "File",
    errors: ["invalid_multipart", "invalid_file", "quota_exceeded", "project_archived"],
    handler: createFile,
  }),
];
