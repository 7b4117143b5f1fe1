/** Removes what nobody needs any more, from Storage and of old requests. What Storage does not remove now is tried again. */
import * as z from "zod";
import { logError } from "../../_shared/log.ts";
import { rpc } from "../../_shared/database/rpc.ts";
import type { Platform } from "../../_shared/platform.ts";

const Garbage = z.array(z.object({ bucket: z.string(), object: z.string() }));

/** Ends what is past its time, and removes up to `limit` objects; returns how many. */
export async function cleanUp({ db, supabase }: Platform, limit = 100): Promise<number> {
  await rpc(db, "prune_idempotency_keys", { limit: 1000 });
  await rpc(db, "expire_files", {});
  const due = await rpc(db, "claim_orphaned_objects", { limit }, Garbage);
  const buckets = Map.groupBy(due, ({ bucket }) => bucket);
  for (const [bucket, items] of buckets) {
    const objects = items.map(({ object }) => object);
    const { error } = await supabase.storage.from(bucket).remove(objects);
    if (error !== null) {
      logError(`could not remove ${objects.length} objects of ${bucket}`, error.message);
    } else await rpc(db, "delete_orphaned_objects", { bucket, objects });
  }
  return due.length;
}
