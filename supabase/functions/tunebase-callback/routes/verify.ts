/** POST …/verify: verifies an uploaded file. One file per call, because hashing uses CPU time. */
import type * as z from "zod";
import { promoteUpload } from "../../_shared/artifacts.ts";
import { rpc } from "../../_shared/database/rpc.ts";
import { type VerifyReply, VerifyRequest } from "../../_shared/protocol.ts";
import { parseOrThrow } from "../../_shared/validation.ts";
import { type CallbackContext, Writer } from "../context.ts";

type Reply = z.infer<typeof VerifyReply>;
const WriterDirective = Writer.pick({ directive: true });

export async function verify(c: CallbackContext): Promise<Response> {
  const { db, supabase } = c.get("platform");
  const { worker_id, fence, file } = parseOrThrow(VerifyRequest, c.get("body"));
  const attempt_id = c.get("attemptId");
  const writer = await rpc(db, "get_worker_directive", { attempt_id, worker_id, fence }, Writer);
  if (writer.directive === "stop") {
    return c.json({ directive: "stop", verified: false, detail: null } satisfies Reply);
  }
  const mismatch = await promoteUpload(
    supabase,
    writer.prefix,
    fence,
    file,
    () => rpc(db, "invalidate_verified_file", { attempt_id, fence, path: file.path }),
  );
  if (mismatch !== null) {
    return c.json({ directive: writer.directive, verified: false, detail: mismatch } satisfies Reply);
  }
  const { directive } = await rpc(
    db,
    "record_verified_file",
    { attempt_id, worker_id, fence, file },
    WriterDirective,
  );
  return c.json({ directive, verified: directive !== "stop", detail: null } satisfies Reply);
}
