/**
 * POST /uploads/{id}/parts: a multipart form with the one field `data`, up to 64 MiB. Its bytes go on to Storage as they
 * come: a function has 256 MB, and `formData()` would hold the part, twice.
 */
import { Readable } from "node:stream";
import { Busboy } from "busboy";
import { call } from "../../_shared/database.ts";
import { ApiError } from "../../_shared/errors.ts";
import { unavailable } from "../../_shared/storage.ts";
import type { ApiContext } from "../context.ts";
import { pathId, publicId, uuid7 } from "../ids.ts";

const mostBytes = 64 * 2 ** 20;
/** The form's own lines. */
const envelope = 65_536;

export async function addPart(c: ApiContext): Promise<Response> {
  const { sql, supabase } = c.get("platform");
  const caller = { json: c.get("caller") };
  const uploadId = pathId("upload", c.req.param("id"), "upload_not_found");
  if (Number(c.req.header("content-length") ?? 0) > mostBytes + envelope) throw tooLarge();
  const partId = uuid7();
  const object = await call<string>(sql, "begin_part", caller, uploadId, partId);
  const bucket = supabase.storage.from("datasets");
  try {
    const bytes = await readData(c.req.raw, async (data) => {
      const { error } = await bucket.upload(object, data, {
        contentType: "application/octet-stream",
        duplex: "half",
      });
      if (error !== null) throw unavailable(`storing ${object}`, error);
    });
    const row = await call<{ created_at: string }>(sql, "end_part", caller, uploadId, partId, bytes);
    return c.json({
      id: publicId("part", partId),
      object: "upload.part" as const,
      created_at: Math.floor(Date.parse(row.created_at) / 1000),
      upload_id: publicId("upload", uploadId),
    });
  } catch (error) {
    // If this fails too, the row that begin_part made leads the sweep to it.
    await bucket.remove([object]);
    throw error;
  }
}

/** Hands the field `data` to `store` as a stream, and returns how many bytes it had. */
function readData(
  request: Request,
  store: (data: ReadableStream<Uint8Array>) => Promise<void>,
): Promise<number> {
  const type = request.headers.get("content-type") ?? "";
  if (!type.startsWith("multipart/form-data") || request.body === null) {
    return Promise.reject(
      invalid(
        null,
        `content-type = ${JSON.stringify(type)}: must be multipart/form-data with the part data.`,
      ),
    );
  }
  return new Promise((resolve, reject) => {
    let bytes = 0;
    let stored: Promise<void> | null = null;
    // An absurd boundary makes the parser throw.
    const form = new Busboy({ headers: { "content-type": type }, limits: { fileSize: mostBytes + 1 } });
    const body = Readable.fromWeb(request.body as Parameters<typeof Readable.fromWeb>[0]);
    const fail = (error: unknown) => {
      reject(error);
      body.unpipe(form);
      body.destroy();
    };
    form.on("file", (field, file) => {
      if (field !== "data" || stored !== null) {
        file.resume();
        fail(invalid(field, `${field}: is not known here; send the one part data.`));
        return;
      }
      const counted = new ReadableStream<Uint8Array>({
        async start(controller) {
          try {
            for await (const chunk of file) {
              bytes += chunk.length;
              if (bytes > mostBytes) throw tooLarge();
              controller.enqueue(new Uint8Array(chunk));
            }
            controller.close();
          } catch (error) {
            controller.error(error);
            fail(error);
          }
        },
      });
      stored = store(counted);
      stored.catch(fail);
    });
    form.on("field", (field) => fail(invalid(field, `${field}: send the one part data, with a file name.`)));
    form.on("error", (cause) => fail(invalid(null, `The body is not a multipart form: ${cause}`)));
    form.on("finish", () => {
      if (stored === null) fail(invalid("data", "data: is required, as a part with a file name."));
      else stored.then(() => resolve(bytes), fail);
    });
    body.on("error", (cause) => fail(invalid(null, `The body did not come to its end: ${cause}`)));
    body.pipe(form);
  });
}

function invalid(param: string | null, message: string): ApiError {
  return new ApiError("invalid_multipart", [{ param, message }]);
}

function tooLarge(): ApiError {
  return new ApiError("too_large", [{
    param: "data",
    message: `data: is larger than ${
      mostBytes / 2 ** 20
    } MiB, the most that a part may have. Send smaller parts.`,
  }]);
}
