/**
 * OpenAI's uploads: POST /uploads, /uploads/{id}/complete, /uploads/{id}/cancel; part.ts adds parts. Uploads expire after an
 * hour. The resulting file is validated in the background.
 */
import * as z from "zod";
import { wakeScheduler } from "../../../_shared/wake_scheduler.ts";
import { rpc } from "../../../_shared/database/rpc.ts";
import { ApiError } from "../../../_shared/errors.ts";
import { jsonBody, parseOrThrow, strictObject } from "../../../_shared/validation.ts";
import type { ApiContext } from "../../context.ts";
import { parseId, pathId, uuid7 } from "../../ids.ts";
import { ExpiresAfter, Purpose, sanitizeFilename } from "../../file_upload.ts";
import { renderUpload } from "../../serializers/fine_tuning.ts";
import { UploadRow } from "../../rows.ts";
import { defineRoute } from "../define.ts";

const lifetimeSeconds = 3600;

export const Body = strictObject({
  bytes: z.int().min(1),
  filename: z.string().min(1).max(1024),
  mime_type: z.string().min(1).max(255),
  purpose: Purpose,
  expires_after: ExpiresAfter.nullish(),
});
export const Completion = strictObject({
  part_ids: z.array(z.string()).min(1).max(8192),
  md5: z.string().regex(/^[0-9a-fA-F]{32}$/, "must be an MD5 of 32 hex digits").nullish(),
});

async function createUpload(c: ApiContext): Promise<Response> {
  const { db, settings } = c.get("platform");
  const body = parseOrThrow(Body, await jsonBody(c.req));
  rejectTooLarge(body.bytes, settings.maxFileBytes);
  const row = await rpc(db, "create_upload", {
    caller: c.get("caller"),
    upload: {
      id: uuid7(),
      kind: "parts",
      filename: sanitizeFilename(body.filename),
      purpose: body.purpose,
      bytes: body.bytes,
      mime_type: body.mime_type,
      file_expires_after: body.expires_after?.seconds ?? null,
      lives_seconds: lifetimeSeconds,
    },
  }, UploadRow);
  return c.json(renderUpload(row));
}

async function completeUpload(c: ApiContext): Promise<Response> {
  const { db, settings, waitUntil } = c.get("platform");
  const id = pathId("upload", c.req.param("id"), "upload_not_found");
  const { part_ids, md5 } = parseOrThrow(Completion, await jsonBody(c.req));
  const parts = part_ids.map((part) => parseId("part", part)).filter((part) => part !== null);
  if (parts.length < part_ids.length) {
    throw ApiError.of("part_not_found", { param: "part_ids" });
  }
  const row = await rpc(db, "complete_upload", {
    caller: c.get("caller"),
    id,
    part_ids: parts,
    md5: md5?.toLowerCase() ?? null,
    file_id: uuid7(),
  }, UploadRow);
  waitUntil(wakeScheduler(settings));
  return c.json(renderUpload(row));
}

async function cancelUpload(c: ApiContext): Promise<Response> {
  const { db, settings, waitUntil } = c.get("platform");
  const id = pathId("upload", c.req.param("id"), "upload_not_found");
  const row = await rpc(db, "cancel_upload", { caller: c.get("caller"), id }, UploadRow);
  waitUntil(wakeScheduler(settings));
  return c.json(renderUpload(row));
}

export function rejectTooLarge(bytes: number, max: number): void {
  if (bytes <= max) return;
  throw new ApiError("too_large", [{
    param: "bytes",
    value: bytes,
    message: `bytes = ${bytes}: must be at most ${max}, this server's limit. Train on fewer rows.`,
  }]);
}

export const routes = [
  defineRoute({
    method: "POST",
    path: "/uploads",
    id: "createUpload",
    summary: "Create a multipart upload",
    scope: "files:write",
    body: Body,
    example: {
      filename: "rows.jsonl",
      bytes: 1_073_741_824,
      purpose: "fine-tune",
      mime_type: "application/jsonl",
    },
    response: "Upload",
    errors: ["quota_exceeded", "project_archived"],
    handler: createUpload,
  }),
  defineRoute({
    method: "POST",
    path: "/uploads/{id}/complete",
    id: "completeUpload",
    summary: "Complete an upload and create its file",
    scope: "files:write",
    body: Completion,
    example: { part_ids: ["part_0192f5c8a1b27c3d8e4f5a6b7c8d9e0f"] },
    response: "Upload",
    errors: [
      "upload_not_found",
      "upload_not_pending",
      "part_not_found",
      "upload_size",
      "quota_exceeded",
      "project_archived",
    ],
    handler: completeUpload,
  }),
  defineRoute({
    method: "POST",
    path: "/uploads/{id}/cancel",
    id: "cancelUpload",
    summary: "Cancel an upload",
    scope: "files:write",
    response: "Upload",
    errors: ["upload_not_found", "upload_not_pending", "project_archived"],
    handler: cancelUpload,
  }),
];
