/** POST /uploads/{id}/parts: a multipart form with the single file part `data` of up to 64 MiB, streamed to Storage. */
import * as z from "zod";
import { buckets } from "../../../_shared/contracts/buckets.ts";
import { rpc } from "../../../_shared/database/rpc.ts";
import { ApiError } from "../../../_shared/errors.ts";
import { unavailable } from "../../../_shared/storage.ts";
import type { ApiContext } from "../../context.ts";
import { pathId, publicId, uuid7 } from "../../ids.ts";
import { CountedStream } from "../../incoming_file.ts";
import { type FilePart, invalidForm, readForm } from "../../multipart.ts";
import { defineRoute } from "../define.ts";

const maxBytes = 64 * 2 ** 20;

const Part = z.object({ created_at: z.string() });

async function addPart(c: ApiContext): Promise<Response> {
  const { db, supabase } = c.get("platform");
  const caller = c.get("caller");
  const uploadId = pathId("upload", c.req.param("id"), "upload_not_found");
  const partId = uuid7();
  const ids = { upload_id: uploadId, part_id: partId };
  const object = await rpc(db, "begin_upload_part", { caller, ...ids });
  const bucket = supabase.storage.from(buckets.datasets);
  const store = async ({ bytes }: FilePart): Promise<number> => {
    const stream = new CountedStream([], limited(bytes));
    const { error } = await bucket.upload(object, stream.data, {
      contentType: "application/octet-stream",
      duplex: "half",
    });
    // Storage's client reports only that the request failed.
    if (error !== null) throw stream.error ?? unavailable(`storing ${object}`, error);
    return stream.size;
  };
  try {
    const { fields, file: bytes } = await readForm(
      c.req.raw,
      { part: "data", max: maxBytes, tooLarge },
      store,
    );
    const [other] = Object.keys(fields).filter((name) => name !== "data");
    if (other !== undefined) throw invalidForm(other, `${other}: is not allowed. Send only the part data.`);
    if (bytes === null) throw invalidForm("data", "data: is required, as a form part with a file name.");
    const row = await rpc(db, "complete_upload_part", { caller, ...ids, bytes }, Part);
    return c.json({
      id: publicId("part", partId),
      object: "upload.part" as const,
      created_at: Math.floor(Date.parse(row.created_at) / 1000),
      upload_id: publicId("upload", uploadId),
    });
  } catch (error) {
    // After a server error the part may exist. Its object is known, so it is deleted with the upload.
    if (error instanceof ApiError && error.entry.status < 500) await bucket.remove([object]);
    throw error;
  }
}

async function* limited(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let size = 0;
  for await (const chunk of bytes) {
    size += chunk.length;
    if (size > maxBytes) throw tooLarge();
    yield chunk;
  }
}

function tooLarge(): ApiError {
  return new ApiError("too_large", [{
    param: "data",
    message: `data: is larger than ${maxBytes / 2 ** 20} MiB, the maximum for a part. Send smaller parts.`,
  }]);
}

export const routes = [
  defineRoute({
    method: "POST",
    path: "/uploads/{id}/parts",
    id: "addUploadPart",
    summary: "Add a part, up to 64 MiB",
    scope: "files:write",
    form: () => z.object({ data: z.file() }),
    response: "UploadPart",
    errors: [
      "upload_not_found",
      "upload_not_pending",
      "invalid_multipart",
      "too_many_parts",
      "upload_size",
      "project_archived",
    ],
    handler: addPart,
  }),
];
