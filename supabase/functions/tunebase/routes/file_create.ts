/** POST /files: a multipart form with `file` and `purpose`, in either order. Checked row by row before it is kept. */
import { rpc } from "../../_shared/database/rpc.ts";
import { Validator } from "../../_shared/dataset/validator.ts";
import { ApiError } from "../../_shared/errors.ts";
import { hex } from "../../_shared/secrets.ts";
import { unavailable } from "../../_shared/storage.ts";
import { check, fields } from "../../_shared/validation.ts";
import type { ApiContext } from "../context.ts";
import { gunzip, isGzip } from "../gunzip.ts";
import { uuid7 } from "../ids.ts";
import { readForm } from "../multipart.ts";
import { cleanName, expiresAfterForm, invalidFile, Purpose, refuseHalfExpiry } from "../new_file.ts";
import { renderFile } from "../render.ts";
import { FileRow } from "../rows.ts";

export const Form = fields({ purpose: Purpose, ...expiresAfterForm });

export async function createFile(c: ApiContext): Promise<Response> {
  const { db, supabase, settings } = c.get("platform");
  const caller = c.get("caller");
  // Who may not write must not make us read and check 32 MB first.
  await rpc(db, "authorize", { caller, scope: "files:write" });
  const form = await readForm(c.req.raw, settings.maxUploadBytes);
  const { file: part, ...rest } = Object.fromEntries(form);
  refuseHalfExpiry(rest);
  const { purpose, "expires_after[seconds]": expires_after } = check(Form, rest);
  if (!(part instanceof File)) {
    throw new ApiError("invalid_request", [{
      param: "file",
      message: "file: is required, as a part with a file name. With curl: -F file=@data.jsonl",
    }]);
  }
  let bytes = new Uint8Array(await part.arrayBuffer());
  let filename = cleanName(part.name);
  // The trainer reads text: what is kept, and what its size and hash are of, is the text.
  if (isGzip(bytes)) {
    bytes = await gunzip(bytes, settings.maxUploadBytes);
    filename = filename.replace(/\.gz$/i, "") || filename;
  }
  const validator = new Validator();
  validator.push(bytes);
  const report = validator.end();
  if (report.errors.length > 0) throw invalidFile(report);
  const id = uuid7();
  const sha256 = hex(new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)));

  const file = {
    id,
    filename,
    purpose,
    bytes: bytes.length,
    sha256,
    report,
    rows: validator.sample(),
    expires_after: expires_after ?? null,
  };
  // An equal file of the project has its bytes in Storage already: both use one object.
  const shared = await rpc(db, "share_file", { caller, file }, FileRow.nullable());
  if (shared !== null) return c.json(renderFile(shared));
  const object = await rpc(db, "reserve_file_object", { caller, id });
  const bucket = supabase.storage.from("tunebase-datasets");
  const { error } = await bucket.upload(object, bytes, { contentType: "application/jsonl" });
  if (error !== null) throw unavailable(`storing ${object}`, error);
  // Should this die before the file is recorded, its bytes are removed after an hour.
  const row = await rpc(db, "create_file", { caller, file: { ...file, object } }, FileRow);
  return c.json(renderFile(row));
}
