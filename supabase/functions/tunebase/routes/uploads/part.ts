/**
 * POST /uploads/{id}/parts: a multipart form with the one field `data`, up to 64 MiB. Its bytes go on to Storage as they
 * come: a function has 256 MB, and `formData()` would hold the part, twice.
 */
import { buckets } from "../../../_shared/contracts/buckets.ts";
import type { Readable as NodeReadable } from "node:stream";
import type { Busboy } from "busboy";
import * as z from "zod";
import { rpc } from "../../../_shared/database/rpc.ts";
import { ApiError } from "../../../_shared/errors.ts";
import { unavailable } from "../../../_shared/storage.ts";
import type { ApiContext } from "../../context.ts";
import { pathId, publicId, uuid7 } from "../../ids.ts";
import { formBoundary } from "../../multipart.ts";
import { defineRoute } from "../define.ts";

const { Readable } = await import("node:stream"); // _shared/on_first_use.ts says why

const maxBytes = 64 * 2 ** 20;
/** The form's own lines. */
const envelope = 65_536;

const Part = z.object({ created_at: z.string() });

async function addPart(c: ApiContext): Promise<Response> {
  const { db, supabase } = c.get("platform");
  const caller = c.get("caller");
  const uploadId = pathId("upload", c.req.param("id"), "upload_not_found");
  if (Number(c.req.header("content-length") ?? 0) > maxBytes + envelope) throw tooLarge();
  const partId = uuid7();
  const ids = { upload_id: uploadId, part_id: partId };
  const object = await rpc(db, "begin_upload_part", { caller, ...ids });
  const bucket = supabase.storage.from(buckets.datasets);
  try {
    const bytes = await readData(c.req.raw, async (data) => {
      const { error } = await bucket.upload(object, data, {
        contentType: "application/octet-stream",
        duplex: "half",
      });
      if (error !== null) throw unavailable(`storing ${object}`, error);
    });
    const row = await rpc(db, "complete_upload_part", { caller, ...ids, bytes }, Part);
    return c.json({
      id: publicId("part", partId),
      object: "upload.part" as const,
      created_at: Math.floor(Date.parse(row.created_at) / 1000),
      upload_id: publicId("upload", uploadId),
    });
  } catch (error) {
    // Only what surely is no part: the row that begin_part made leads the cleanUp to the rest.
    if (error instanceof ApiError && error.entry.status < 500) await bucket.remove([object]);
    throw error;
  }
}

type Store = (data: ReadableStream<Uint8Array>) => Promise<void>;

/**
 * Hands the field `data` to `store` as a stream, and returns how many bytes it had. Settles only once `store` has: what
 * is removed while it is still being written would come back.
 */
async function readData(request: Request, store: Store): Promise<number> {
  const type = request.headers.get("content-type") ?? "";
  if (formBoundary(type) === null || request.body === null) {
    throw invalid(
      null,
      `content-type = ${JSON.stringify(type)}: must be multipart/form-data with the part data.`,
    );
  }
  let form: InstanceType<typeof Busboy>;
  try {
    // Loaded by who needs it: it would take a third of the time in which the function starts.
    form = new (await import("busboy")).Busboy({
      headers: { "content-type": type },
      limits: { fileSize: maxBytes + 1 },
    });
  } catch (cause) {
    throw invalid(
      null,
      `The body is not a multipart form: ${cause instanceof Error ? cause.message : cause}`,
    );
  }
  const body: NodeJS.ReadableStream & NodeReadable = Readable.fromWeb(
    request.body as Parameters<typeof Readable.fromWeb>[0],
  );
  let bytes = 0;
  let stored: Promise<void> | null = null;
  let part: NodeReadable | null = null;
  try {
    await new Promise<void>((resolve, reject) => {
      form.on("file", (field, file) => {
        if (field !== "data" || stored !== null) {
          file.resume();
          reject(invalid(field, `${field}: must be the one part data.`));
          return;
        }
        part = file;
        stored = store(counted(file, (length) => bytes += length, reject));
        stored.catch(reject);
      });
      form.on(
        "field",
        (field) => reject(invalid(field, `${field}: send the one part data, with a file name.`)),
      );
      form.on("error", (cause) => reject(invalid(null, `The body is not a multipart form: ${cause}`)));
      form.on("finish", resolve);
      body.on("error", (cause) => reject(invalid(null, `The body did not come to its end: ${cause}`)));
      body.pipe(form);
    });
    if (stored === null) throw invalid("data", "data: is required, as a part with a file name.");
    await stored;
    return bytes;
  } catch (error) {
    body.unpipe(form);
    body.destroy();
    // Ends what is being stored, if anything is.
    (part as NodeReadable | null)?.destroy(error instanceof Error ? error : undefined);
    await (stored as Promise<void> | null)?.catch(() => {}); // its error is told already, or follows from this one
    throw error;
  }
}

/**
 * A part's bytes, counted, read as fast as they are taken. What is wrong with them goes to `fail` before the stream ends:
 * Storage's client says only that the request failed.
 */
function counted(
  file: NodeReadable,
  count: (length: number) => number,
  fail: (error: ApiError) => void,
): ReadableStream<Uint8Array> {
  const chunks = file[Symbol.asyncIterator]();
  return new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await chunks.next();
        if (done) return controller.close();
        if (count(value.length) > maxBytes) throw tooLarge();
        controller.enqueue(new Uint8Array(value));
      } catch (error) {
        fail(error instanceof ApiError ? error : invalid("data", `data: did not come to its end: ${error}`));
        throw error;
      }
    },
  });
}

function invalid(param: string | null, message: string): ApiError {
  return new ApiError("invalid_multipart", [{ param, message }]);
}

function tooLarge(): ApiError {
  return new ApiError("too_large", [{
    param: "data",
    message: `data: is larger than ${
      maxBytes / 2 ** 20
    } MiB, the most that a part may have. Send smaller parts.`,
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
