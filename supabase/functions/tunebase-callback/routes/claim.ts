/** POST …/claim: a worker claims the attempt before it uses GPU time. The response has fresh dataset URLs. */
import { buckets } from "../../_shared/contracts/buckets.ts";
import * as z from "zod";
import { rpc } from "../../_shared/database/rpc.ts";
import { ArtifactFile, type ClaimReply, ClaimRequest } from "../../_shared/protocol.ts";
import { signedUrl, signFiles } from "../../_shared/storage.ts";
import { parseOrThrow } from "../../_shared/validation.ts";
import type { CallbackContext } from "../context.ts";

/** Workers download right after claiming; an hour is enough for slow connections. */
const urlSeconds = 3600;

const Artifacts = z.object({ prefix: z.string(), files: z.array(ArtifactFile) });
const Claimed = z.discriminatedUnion("claimed", [
  z.object({ claimed: z.literal(false), reason: z.enum(["held", "ended"]), detail: z.string() }),
  z.object({
    claimed: z.literal(true),
    fence: z.int(),
    training_object: z.string(),
    training_sha256: z.string(),
    validation_object: z.string().nullable(),
    validation_sha256: z.string().nullable(),
    resume: Artifacts.extend({ step: z.int() }).nullable(),
    start_from: Artifacts.nullable(),
  }),
]);

export async function claim(c: CallbackContext): Promise<Response> {
  const { db, supabase, settings } = c.get("platform");
  const request = parseOrThrow(ClaimRequest, c.get("body"));
  const claimed = await rpc(db, "claim_attempt", {
    attempt_id: c.get("attemptId"),
    worker_id: request.worker_id,
    runpod_job_id: request.runpod_job_id,
    lease_seconds: settings.leaseSeconds,
    claim_id: c.req.header("webhook-id")?.slice(0, 200) ?? null,
  }, Claimed);
  if (!claimed.claimed) return c.json(claimed satisfies z.infer<typeof ClaimReply>);
  const signed = (object: string) => signedUrl(supabase, buckets.datasets, object, urlSeconds);
  const artifacts = ({ prefix, files }: z.infer<typeof Artifacts>) =>
    signFiles(supabase, buckets.adapters, prefix, files, urlSeconds);
  const { resume, start_from } = claimed;
  const reply: z.infer<typeof ClaimReply> = {
    claimed: true,
    fence: claimed.fence,
    lease_seconds: settings.leaseSeconds,
    report_seconds: Math.max(1, Math.floor(settings.leaseSeconds / 4)),
    dataset_url: await signed(claimed.training_object),
    dataset_sha256: claimed.training_sha256,
    validation_url: claimed.validation_object === null ? null : await signed(claimed.validation_object),
    validation_sha256: claimed.validation_sha256,
    checkpoint_seconds: settings.checkpointSeconds,
    resume: resume === null ? null : { step: resume.step, files: await artifacts(resume) },
    start_from: start_from === null ? null : { files: await artifacts(start_from) },
  };
  return c.json(reply);
}
