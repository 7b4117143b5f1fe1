/** GET /fine_tuning/jobs/{id}/adapter: the manifest, and a short-lived URL for each of its files. */
import { call } from "../../_shared/database.ts";
import type { Tables } from "../../_shared/database.types.ts";
import { Manifest } from "../../_shared/protocol.ts";
import { signFiles } from "../../_shared/storage.ts";
import type { ApiContext } from "../context.ts";
import { pathId, publicId } from "../ids.ts";

const urlSeconds = 3600;

export async function getAdapter(c: ApiContext): Promise<Response> {
  const { sql, supabase } = c.get("platform");
  const id = pathId("job", c.req.param("id"), "job_not_found");
  const row = await call<Tables<"adapters">>(sql, "get_adapter", { json: c.get("caller") }, id);
  const manifest = Manifest.parse(row.manifest);
  const expiresAt = Math.floor(Date.now() / 1000) + urlSeconds;
  const signed = await signFiles(supabase, "adapters", row.prefix, manifest.files, urlSeconds);
  const files = signed.map((file) => ({ ...file, expires_at: expiresAt }));
  return c.json({
    object: "fine_tuning.job.adapter",
    job_id: publicId("job", id),
    fine_tuned_model: row.name,
    created_at: Math.floor(Date.parse(row.created_at) / 1000),
    format: manifest.format,
    base_model: row.base_model,
    base_source: manifest.base_model,
    base_revision: manifest.base_revision,
    total_bytes: row.bytes,
    files,
    manifest,
  });
}
