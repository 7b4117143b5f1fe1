/** GET /files/{id}/content: streams the uploaded bytes, or the CSV of a result file. */
import { buckets } from "../../../_shared/contracts/buckets.ts";
import * as z from "zod";
import { rpc } from "../../../_shared/database/rpc.ts";
import { ApiError } from "../../../_shared/errors.ts";
import { signedUrl, unavailable } from "../../../_shared/storage.ts";
import type { ApiContext } from "../../context.ts";
import { fileRow } from "./get.ts";
import { defineRoute } from "../define.ts";

async function getFileContent(c: ApiContext): Promise<Response> {
  const { db, supabase } = c.get("platform");
  const file = await fileRow(c);
  if (file.purpose === "fine-tune-results") {
    const csv = await rpc(db, "get_result_content", { caller: c.get("caller"), file_id: file.id });
    return c.body(csv, 200, { "content-type": "text/csv; charset=utf-8" });
  }
  const object = file.original_object ?? file.object;
  // A file uploaded in parts has an object only once validation has concatenated them.
  if (file.status !== "processed") {
    const { data: exists } = await supabase.storage.from(buckets.datasets).exists(object);
    if (!exists) throw ApiError.of("file_not_ready", { status: file.status });
  }
  const stored = await fetch(await signedUrl(supabase, buckets.datasets, object, 60));
  if (!stored.ok) {
    throw unavailable(`reading ${object}`, `${stored.status} ${await stored.text()}`);
  }
  return new Response(stored.body, {
    headers: {
      "content-type": "application/octet-stream",
      "content-length": String(file.original_bytes ?? file.bytes),
      "content-disposition": `attachment; filename*=UTF-8''${encodeURIComponent(file.filename)}`,
    },
  });
}

export const routes = [
  defineRoute({
    method: "GET",
    path: "/files/{id}/content",
    id: "getFileContent",
    summary: "Download a file",
    scope: "files:read",
    response: {
      200: {
        description: "The file's content",
        content: { "application/octet-stream": () => z.file(), "text/csv": () => z.string() },
      },
    },
    errors: ["file_not_found", "file_not_ready"],
    handler: getFileContent,
  }),
];
