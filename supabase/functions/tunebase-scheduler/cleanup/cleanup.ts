/** Expires files, uploads, idempotency keys and inference requests, and deletes orphaned Storage objects. Failed deletions are retried. */
import * as z from "zod";
import { logError } from "../../_shared/log.ts";
import { rpc } from "../../_shared/database/rpc.ts";
import type { Platform } from "../../_shared/platform.ts";

const Orphaned = z.array(z.object({ bucket: z.string(), object: z.string() }));

/** Deletes up to `limit` objects. Returns their number. */
export async function cleanUp({ db, supabase }: Platform, limit = 100): Promise<number> {
  await rpc(db, "prune_idempotency_keys", { limit: 1000 });
  await rpc(db, "expire_files", {});
  await rpc(db, "expire_inference_requests", { limit: 1000 });
  const due = await rpc(db, "claim_orphaned_objects", { limit }, Orphaned);
  for (const [bucket, items] of Map.groupBy(due, ({ bucket }) => bucket)) {
    const objects = items.map(({ object }) => object);
    const { error } = await supabase.storage.from(bucket).remove(objects);
    if (error !== null) {
      logError(`could not delete ${objects.length} objects from ${bucket}`, error.message);
    } else await rpc(db, "delete_orphaned_objects", { bucket, objects });
  }
  return due.length;
}
