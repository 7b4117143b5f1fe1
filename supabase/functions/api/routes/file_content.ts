/** GET /files/{id}/content: the bytes as they were uploaded, streamed. */
import { signedUrl, unavailable } from "../../_shared/storage.ts";
import type { ApiContext } from "../context.ts";
import { fileRow } from "./file_get.ts";

export async function getFileContent(c: ApiContext): Promise<Response> {
  const file = await fileRow(c);
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
