/** POST …/uploads: signed, resumable upload targets for an attempt's files. Workers have no Storage key. */
import { buckets } from "../../_shared/contracts/buckets.ts";
import type * as z from "zod";
import { incomingObject } from "../../_shared/artifacts.ts";
import { rpc } from "../../_shared/database/rpc.ts";
import { type UploadsReply, UploadsRequest } from "../../_shared/protocol.ts";
import { unavailable } from "../../_shared/storage.ts";
import { parseOrThrow } from "../../_shared/validation.ts";
import { type CallbackContext, Writer } from "../context.ts";

/** Storage requires chunks of exactly 6 MiB. */
const chunkBytes = 6 * 2 ** 20;

export async function uploads(c: CallbackContext): Promise<Response> {
  const { db, supabase, settings } = c.get("platform");
  const { worker_id, fence, paths } = parseOrThrow(UploadsRequest, c.get("body"));
  const writer = await rpc(
    db,
    "get_worker_directive",
    { attempt_id: c.get("attemptId"), worker_id, fence },
    Writer,
  );
  const reply: z.infer<typeof UploadsReply> = { directive: writer.directive, targets: [] };
  if (writer.directive === "stop") return c.json(reply);
  reply.targets = await Promise.all(paths.map(async (path) => {
    const object = incomingObject(writer.prefix, fence, path);
    const { data, error } = await supabase.storage.from(buckets.adapters).createSignedUploadUrl(object, {
      upsert: true,
    });
    if (error !== null) throw unavailable(`signing an upload of ${object}`, error);
    return {
      path,
      endpoint: `${settings.supabaseUrl}/storage/v1/upload/resumable/sign`,
      bucket: buckets.adapters,
      object,
      token: data.token,
      content_type: path.endsWith(".json") ? "application/json" : "application/octet-stream",
      chunk_bytes: chunkBytes,
    };
  }));
  return c.json(reply);
}
