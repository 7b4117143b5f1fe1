/** POST /files: a multipart form with `file` and `purpose`, in either order. Checked row by row before it is kept. */
import { call } from "../../_shared/database.ts";
import type { Tables } from "../../_shared/database.types.ts";
import { Validator } from "../../_shared/dataset/validator.ts";
import { ApiError } from "../../_shared/errors.ts";
import { hex } from "../../_shared/secrets.ts";
import { unavailable } from "../../_shared/storage.ts";
import { check, fields } from "../../_shared/validation.ts";
import type { ApiContext } from "../context.ts";
import { gunzip, isGzip } from "../gunzip.ts";
import { uuid7 } from "../ids.ts";
import { cleanName, expiresAfterForm, problemsOf, Purpose } from "../new_file.ts";
import { renderFile } from "../render.ts";

export const Form = fields({ purpose: Purpose, ...expiresAfterForm });

export async function createFile(c: ApiContext): Promise<Response> {
  const { sql, supabase, settings } = c.get("platform");
  // Who may not write must not make us read and check 32 MB first.
  await call<string>(sql, "authorize", { json: c.get("caller") }, "files:write");
  const form = await readForm(c.req.raw, settings.maxUploadBytes);
  const { file, ...rest } = Object.fromEntries(form);
  const { purpose, "expires_after[seconds]": expires_after } = check(Form, rest);
  if (!(file instanceof File)) {
    throw new ApiError("invalid_request", [{
      param: "file",
      message: "file: is required, as a part with a file name. With curl: -F file=@data.jsonl",
    }]);
  }
  let bytes = new Uint8Array(await file.arrayBuffer());
  let filename = cleanName(file.name);
  // The trainer reads text: what is kept, and what its size and hash are of, is the text.
  if (isGzip(bytes)) {
    bytes = await gunzip(bytes, settings.maxUploadBytes);
    filename = filename.replace(/\.gz$/i, "") || filename;
  }
  const validator = new Validator();
  validator.push(bytes);
  const report = validator.end();
  if (report.errors.length > 0) throw new ApiError("invalid_file", problemsOf(report));
  const id = uuid7();
  const sha256 = hex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)));

  const caller = { json: c.get("caller") };
  const object = await call<string>(sql, "reserve_file_object", caller, id);
  const bucket = supabase.storage.from("tunebase-datasets");
  const { error } = await bucket.upload(object, bytes, { contentType: "application/jsonl" });
  if (error !== null) throw unavailable(`storing ${object}`, error);
  // Should this die before the file is recorded, its bytes are removed after an hour.
  const row = await call<Tables<"files">>(sql, "create_file", caller, {
    json: {
      id,
      filename,
      purpose,
      bytes: bytes.length,
      sha256,
      report,
      object,
      rows: validator.sample(),
      expires_after: expires_after ?? null,
    },
  });
  return c.json(renderFile(row));
}

/** Reads the form, and no more than `most` bytes of it, whether or not a length was announced. */
async function readForm(request: Request, most: number): Promise<FormData> {
  const type = request.headers.get("content-type") ?? "";
  if (!type.startsWith("multipart/form-data")) {
    throw new ApiError("invalid_multipart", [{
      param: null,
      message: `content-type = ${
        JSON.stringify(type)
      }: must be multipart/form-data with the parts file and purpose.`,
    }]);
  }
  // The form's own lines come on top of the file.
  const room = most + 65_536;
  let size = Number(request.headers.get("content-length") ?? 0);
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  if (size <= room) {
    size = 0;
    for await (const chunk of request.body ?? []) {
      size += chunk.length;
      if (size > room) break;
      chunks.push(new Uint8Array(chunk));
    }
  }
  if (size > room) {
    throw new ApiError("too_large", [{
      param: "file",
      message:
        `file: is larger than ${most / 2 ** 20} MiB, the most that POST /files takes. Larger files go ` +
        "through /uploads (the SDKs' uploads.create, upload_file_chunked) or /files/direct.",
    }]);
  }
  try {
    return await new Response(new Blob(chunks), { headers: { "content-type": type } }).formData();
  } catch (cause) {
    throw new ApiError("invalid_multipart", [{
      param: null,
      message: `The body is not a multipart form: ${cause instanceof Error ? cause.message : cause}`,
    }]);
  }
}
