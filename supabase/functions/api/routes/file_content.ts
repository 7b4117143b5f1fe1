/** GET /files/{id}/content: the bytes as they were uploaded, streamed; a result file's CSV. */
import { call } from "../../_shared/database.ts";
import { signedUrl, unavailable } from "../../_shared/storage.ts";
import type { ApiContext } from "../context.ts";
import { fileRow } from "./file_get.ts";

export async function getFileContent(c: ApiContext): Promise<Response> {
  const file = await fileRow(c);
  if (file.purpose === "fine-tune-results") {
    const { sql } = c.get("platform");
    const csv = await call<string>(sql, "result_content", { json: c.get("caller") }, file.id);
    return c.body(csv, 200, { "content-type": "text/csv; charset=utf-8" });
  }
  const stored = await fetch(await signedUrl(c.get("platform").supabase, "datasets", file.object, 60));
  if (!stored.ok) {
    throw unavailable(`reading ${file.object}`, `${stored.status} ${await stored.text()}`);
  }
  return new Response(stored.body, {
    headers: {
      "content-type": "application/octet-stream",
      "content-length": String(file.bytes),
      "content-disposition": `attachment; filename*=UTF-8''${encodeURIComponent(file.filename)}`,
    },
  });
}
