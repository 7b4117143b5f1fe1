/**
 * OpenAI's uploads: POST /uploads, /uploads/{id}/complete, /uploads/{id}/cancel (parts: upload_part.ts). An upload lives one
 * hour. The file that comes of it is checked in the background.
 */
import * as z from "zod";
import { nudgeScheduler } from "../../_shared/addresses.ts";
import { call } from "../../_shared/database.ts";
import { ApiError } from "../../_shared/errors.ts";
import { check, fields, jsonBody } from "../../_shared/validation.ts";
import type { ApiContext } from "../context.ts";
import { parseId, pathId, uuid7 } from "../ids.ts";
import { cleanName, ExpiresAfter, Purpose } from "../new_file.ts";
import { renderUpload, type UploadRow } from "../render.ts";

const livesSeconds = 3600;

export const Body = fields({
  bytes: z.int().min(1),
  filename: z.string().min(1).max(1024),
  mime_type: z.string().min(1).max(255),
  purpose: Purpose,
  expires_after: ExpiresAfter.nullish(),
});
export const Completion = fields({
  part_ids: z.array(z.string()).min(1).max(8192),
  md5: z.string().regex(/^[0-9a-fA-F]{32}$/, "must be an MD5 in 32 hex digits").nullish(),
});

export async function createUpload(c: ApiContext): Promise<Response> {
  const { sql, settings } = c.get("platform");
  const body = check(Body, await jsonBody(c.req.raw));
  refuseTooLarge(body.bytes, settings.maxFileBytes);
  const row = await call<UploadRow>(sql, "create_upload", { json: c.get("caller") }, {
    json: {
      id: uuid7(),
      kind: "parts",
      filename: cleanName(body.filename),
      purpose: body.purpose,
      bytes: body.bytes,
      mime_type: body.mime_type,
      file_expires_after: body.expires_after?.seconds ?? null,
      lives_seconds: livesSeconds,
    },
  });
  return c.json(renderUpload(row));
}

export async function completeUpload(c: ApiContext): Promise<Response> {
  const { sql, settings, later } = c.get("platform");
  const id = pathId("upload", c.req.param("id"), "upload_not_found");
  const { part_ids, md5 } = check(Completion, await jsonBody(c.req.raw));
  const parts = part_ids.map((part) => parseId("part", part));
  if (parts.includes(null)) {
    const { problems: [problem] } = ApiError.of("part_not_found");
    throw new ApiError("part_not_found", [{ message: problem?.message ?? "", param: "part_ids" }]);
  }
  const row = await call<UploadRow>(
    sql,
    "complete_upload",
    { json: c.get("caller") },
    id,
    // A literal of uuid[]: each was parsed to a UUID's form.
    `{${parts.join(",")}}`,
    md5?.toLowerCase() ?? null,
    uuid7(),
  );
  later(nudgeScheduler(settings));
  return c.json(renderUpload(row));
}

export async function cancelUpload(c: ApiContext): Promise<Response> {
  const { sql, settings, later } = c.get("platform");
  const id = pathId("upload", c.req.param("id"), "upload_not_found");
  const row = await call<UploadRow>(sql, "cancel_upload", { json: c.get("caller") }, id);
  later(nudgeScheduler(settings));
  return c.json(renderUpload(row));
}

export function refuseTooLarge(bytes: number, most: number): void {
  if (bytes <= most) return;
  throw new ApiError("too_large", [{
    param: "bytes",
    value: bytes,
    message: `bytes = ${bytes}: is more than ${most}, the most that this server takes. Train on fewer rows.`,
  }]);
}
