/**
 * POST /files: a multipart form with `file` and `purpose`, in either order. Small files are validated before they are
 * stored. Larger ones are streamed to Storage and validated in the background.
 */
import { buckets } from "../../../_shared/contracts/buckets.ts";
import * as z from "zod";
import { rpc } from "../../../_shared/database/rpc.ts";
import { ApiError } from "../../../_shared/errors.ts";
import { parseOrThrow, strictObject } from "../../../_shared/validation.ts";
import type { ApiContext } from "../../context.ts";
import { uuid7 } from "../../ids.ts";
import { receiveFile } from "../../incoming_file.ts";
import { formEnvelope, readForm } from "../../multipart.ts";
import {
  expiresAfterForm,
  expiryFieldsTogether,
  Purpose,
  rejectIncompleteExpiry,
} from "../../file_upload.ts";
import { renderFile } from "../../serializers/fine_tuning.ts";
import { recordFile, reserveObject, storeObject } from "../../new_file.ts";
import { defineRoute } from "../define.ts";

const Form = strictObject({ purpose: Purpose, ...expiresAfterForm });

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
          const object = await reserveObject(c, id, minSize);
          stored.push(object);
          await storeObject(c, object, data);
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
    return c.json(renderFile(await recordFile(c, file, form.file)));
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
