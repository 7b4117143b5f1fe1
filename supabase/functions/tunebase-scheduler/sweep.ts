/** Removes what nobody needs any more, from Storage and of old requests. What Storage does not remove now is tried again. */
import { logError } from "../_shared/log.ts";
import { call } from "../_shared/database.ts";
import type { Platform } from "../_shared/platform.ts";

/** Ends what is past its time, and removes up to `limit` objects; returns how many. */
export async function sweep({ sql, supabase }: Platform, limit = 100): Promise<number> {
  await call<number>(sql, "prune_idempotency_keys", 1000);
  await call<number>(sql, "expire_files");
  const due = await call<{ bucket: string; object: string }[]>(sql, "claim_orphaned_objects", limit);
  const buckets = Map.groupBy(due, ({ bucket }) => bucket);
  for (const [bucket, items] of buckets) {
    const objects = items.map(({ object }) => object);
    const { error } = await supabase.storage.from(bucket).remove(objects);
    if (error !== null) {
      logError(`could not remove ${objects.length} objects of ${bucket}`, error.message);
    } else await call(sql, "delete_orphaned_objects", bucket, { json: objects });
  }
  return due.length;
}
