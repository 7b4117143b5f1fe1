/**
 * POST /files/direct: creates a signed, resumable (TUS) upload directly to Storage, for large files. GET /files/direct/{id}
 * signs it again, because a signature expires after two hours. POST /files/direct/{id}/complete creates the file, which is
 * validated in the background.
 */
import { buckets } from "../../../_shared/contracts/buckets.ts";
import * as z from "zod";
import { wakeScheduler } from "../../../_shared/wake_scheduler.ts";
import { rpc } from "../../../_shared/database/rpc.ts";
import { ApiError } from "../../../_shared/errors.ts";
import { unavailable } from "../../../_shared/storage.ts";
import { jsonBody, parseOrThrow, strictObject } from "../../../_shared/validation.ts";
import type { ApiContext } from "../../context.ts";
import { pathId, uuid7 } from "../../ids.ts";
import { ExpiresAfter, Purpose, sanitizeFilename } from "../../file_upload.ts";
import { renderFile, renderUpload } from "../../serializers/fine_tuning.ts";
import { UploadRow } from "../../rows.ts";
import { rejectTooLarge } from "../uploads/upload.ts";
import { defineRoute } from "../define.ts";

/** How long Storage keeps a resumable upload. */
const lifetimeSeconds = 86_400;
/** Storage requires chunks of exactly 6 MiB. */
const chunkBytes = 6 * 2 ** 20;
/** Storage moves an object by copying it, and S3 copies at most 5 GiB. */
const maxBytes = 5 * 2 ** 30;

export const Body = strictObject({
  filename: z.string().min(1).max(1024),
  bytes: z.int().min(1),
  purpose: Purpose,
  expires_after: ExpiresAfter.nullish(),
});

async function createResumableUpload(c: ApiContext): Promise<Response> {
  const { db, settings } = c.get("platform");
  const body = parseOrThrow(Body, await jsonBody(c.req));
  rejectTooLarge(body.bytes, Math.min(settings.maxFileBytes, maxBytes));
  const row = await rpc(db, "create_upload", {
    caller: c.get("caller"),
    upload: {
      id: uuid7(),
      kind: "direct",
      filename: sanitizeFilename(body.filename),
      purpose: body.purpose,
      bytes: body.bytes,
      mime_type: contentType,
      file_expires_after: body.expires_after?.seconds ?? null,
      lives_seconds: lifetimeSeconds,
    },
  }, UploadRow);
  return await respond(c, row);
}

async function getResumableUpload(c: ApiContext): Promise<Response> {
  return await respond(c, await resumableUpload(c));
}

async function completeResumableUpload(c: ApiContext): Promise<Response> {
  const { db, supabase, settings, waitUntil } = c.get("platform");
  const upload = await resumableUpload(c);
  if (upload.status === "completed") return c.json(fileOf(upload));
  const incoming = upload.object ?? "";
  const object = `${upload.project_id}/${upload.id}.jsonl`;
  const bucket = supabase.storage.from(buckets.datasets);
  // An earlier call may have moved it and then failed.
  const { data: moved } = await bucket.exists(object);
  if (!moved) {
    const { data: arrived } = await bucket.exists(incoming);
    if (!arrived) {
      throw new ApiError("upload_missing", [{
        param: null,
        message: "This upload is not complete in Storage. Upload all bytes to `target` first.",
      }]);
    }
    const { error } = await bucket.move(incoming, object);
    if (error !== null) throw unavailable(`moving ${incoming}`, error);
  }
  const { data: info, error } = await bucket.info(object);
  if (error !== null) throw unavailable(`reading the size of ${object}`, error);
  if (info.size !== upload.bytes) {
    // Removed, so that it can be uploaded again.
    await bucket.remove([object]);
    throw ApiError.of("upload_size", { bytes: upload.bytes, parts: info.size, param: "bytes" });
  }
  const args = { caller: c.get("caller"), id: upload.id, object };
  const done = await rpc(db, "complete_direct_upload", args, UploadRow);
  waitUntil(wakeScheduler(settings));
  return c.json(fileOf(done));
}

function resumableUpload(c: ApiContext): Promise<UploadRow> {
  const id = pathId("upload", c.req.param("id"), "upload_not_found");
  return rpc(c.get("platform").db, "get_direct_upload", { caller: c.get("caller"), id }, UploadRow);
}

/** The upload and, while it is pending, its target. */
async function respond(c: ApiContext, row: UploadRow): Promise<Response> {
  const { supabase, settings } = c.get("platform");
  if (row.status !== "pending" || row.object === null) return c.json({ ...renderUpload(row), target: null });
  const { data, error } = await supabase.storage.from(buckets.datasets).createSignedUploadUrl(row.object, {
    upsert: true,
  });
  if (error !== null) throw unavailable(`signing an upload of ${row.object}`, error);
  return c.json({
    ...renderUpload(row),
    target: {
      endpoint: `${settings.supabaseUrl}/storage/v1/upload/resumable/sign`,
      bucket: buckets.datasets,
      object: row.object,
      token: data.token,
      content_type: contentType,
      chunk_bytes: chunkBytes,
    },
  });
}

const contentType = "application/jsonl";

function fileOf(row: UploadRow) {
  if (!row.file) throw ApiError.of("file_not_found"); // deleted since
  return renderFile(row.file);
}

export const routes = [
  defineRoute({
    method: "POST",
    path: "/files/direct",
    id: "createDirectUpload",
    summary: "Create a resumable upload directly to Storage",
    description:
      "For files up to 5 GiB. Send the bytes to `target` with a TUS client, then complete the upload.",
    scope: "files:write",
    body: Body,
    example: { filename: "rows.jsonl", bytes: 1_073_741_824, purpose: "fine-tune" },
    response: "DirectUpload",
    errors: ["quota_exceeded", "project_archived"],
    handler: createResumableUpload,
  }),
  defineRoute({
    method: "GET",
    path: "/files/direct/{id}",
    id: "getDirectUpload",
    summary: "Get a direct upload with a fresh token",
    description: "Tokens expire after two hours, uploads after a day.",
    scope: "files:write",
    response: "DirectUpload",
    errors: ["upload_not_found"],
    handler: getResumableUpload,
  }),
  defineRoute({
    method: "POST",
    path: "/files/direct/{id}/complete",
    id: "completeDirectUpload",
    summary: "Complete a direct upload and create its file",
    description: "The file is validated in the background.",
    scope: "files:write",
    response: "File",
    errors: [
      "upload_not_found",
      "upload_not_pending",
      "upload_missing",
      "upload_size",
      "file_not_found",
      "quota_exceeded",
      "project_archived",
    ],
    handler: completeResumableUpload,
  }),
];
