/** POST …/verify: takes one uploaded file in. One file a call, as hashing costs CPU time. */
import type * as z from "zod";
import { takeIn } from "../../_shared/artifacts.ts";
import { call } from "../../_shared/database.ts";
import { type VerifyReply, VerifyRequest } from "../../_shared/protocol.ts";
import { check } from "../../_shared/validation.ts";
import type { CallbackContext, Writer } from "../context.ts";

type Reply = z.infer<typeof VerifyReply>;

export async function verify(c: CallbackContext): Promise<Response> {
  const { sql, supabase } = c.get("platform");
  const { worker_id, fence, file } = check(VerifyRequest, c.get("body"));
  const id = c.get("attemptId");
  const writer = await call<Writer>(sql, "get_worker_directive", id, worker_id, fence);
  if (writer.order === "stop") {
    return c.json({ order: "stop", verified: false, detail: null } satisfies Reply);
  }
  const wrong = await takeIn(
    supabase,
    writer.prefix,
    fence,
    file,
    () => call<boolean>(sql, "invalidate_verified_file", id, fence, file.path),
  );
  if (wrong !== null) {
    return c.json({ order: writer.order, verified: false, detail: wrong } satisfies Reply);
  }
  const { order } = await call<Writer>(sql, "record_verified_file", id, worker_id, fence, { json: file });
  return c.json({ order, verified: order !== "stop", detail: null } satisfies Reply);
}
