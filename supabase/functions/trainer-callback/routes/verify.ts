/**
 * POST …/verify: moves one uploaded file to its place, reads it back from Storage and compares size and SHA-256. One
 * file a call, streamed: hashing costs CPU time, of which the platform gives 2 s a request.
 */
import { createHash } from "node:crypto";
import type { SupabaseClient } from "@supabase/supabase-js";
import type { z } from "zod";
import { call } from "../../_shared/database.ts";
import { type ArtifactFile, type VerifyReply, VerifyRequest } from "../../_shared/protocol.ts";
import { signedUrl, unavailable } from "../../_shared/storage.ts";
import { check } from "../../_shared/validation.ts";
import type { CallbackContext } from "../context.ts";
import { incomingObject, type Writer } from "../incoming.ts";

type Reply = z.infer<typeof VerifyReply>;

export async function verify(c: CallbackContext): Promise<Response> {
  const { sql, supabase } = c.get("platform");
  const { worker_id, fence, file } = check(VerifyRequest, c.get("body"));
  const writer = await call<Writer>(sql, "attempt_order", c.get("attemptId"), worker_id, fence);
  if (writer.order === "stop") {
    return c.json({ order: "stop", verified: false, detail: null } satisfies Reply);
  }

  const object = `${writer.prefix}/${file.path}`;
  await takeIn(supabase, incomingObject(writer.prefix, fence, file.path), object);
  const wrong = await compare(supabase, object, file);
  if (wrong !== null) {
    // Out of the way, so that the file can be uploaded and moved here again.
    await supabase.storage.from("adapters").remove([object]);
    return c.json({ order: writer.order, verified: false, detail: wrong } satisfies Reply);
  }
  const { order } = await call<Writer>(sql, "record_verified", c.get("attemptId"), worker_id, fence, {
    json: file,
  });
  return c.json({ order, verified: order !== "stop", detail: null } satisfies Reply);
}

/** Moves an upload to its place. A call that is repeated finds it there already, which {@link compare} judges. */
async function takeIn(supabase: SupabaseClient, incoming: string, object: string): Promise<void> {
  const bucket = supabase.storage.from("adapters");
  const { data: arrived } = await bucket.exists(incoming);
  if (!arrived) return;
  const { data: there } = await bucket.exists(object);
  if (there) await bucket.remove([object]);
  const { error } = await bucket.move(incoming, object);
  if (error !== null) throw unavailable(`moving ${incoming}`, error);
}

/** null when the object has the file's size and hash; else what is wrong with it. */
async function compare(
  supabase: SupabaseClient,
  object: string,
  file: z.infer<typeof ArtifactFile>,
): Promise<string | null> {
  const bucket = supabase.storage.from("adapters");
  const { data: there } = await bucket.exists(object);
  if (!there) return `${file.path} is not in Storage`;
  const response = await fetch(await signedUrl(supabase, "adapters", object, 600));
  if (!response.ok || response.body === null) {
    throw unavailable(`reading ${object}`, `${response.status} ${await response.text()}`);
  }
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of response.body) {
    bytes += chunk.length;
    hash.update(chunk);
  }
  if (bytes !== file.bytes) return `${file.path} has ${bytes} bytes in Storage, not ${file.bytes}`;
  const sha256 = hash.digest("hex");
  return sha256 === file.sha256
    ? null
    : `${file.path} has the SHA-256 ${sha256} in Storage, not ${file.sha256}`;
}
