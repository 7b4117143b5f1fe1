/** POST …/claim: a worker asks for the attempt before it spends GPU time; the answer brings fresh dataset URLs. */
import type * as z from "zod";
import { call } from "../../_shared/database.ts";
import { type ArtifactFile, type ClaimReply, ClaimRequest } from "../../_shared/protocol.ts";
import { signedUrl, signFiles } from "../../_shared/storage.ts";
import { check } from "../../_shared/validation.ts";
import type { CallbackContext } from "../context.ts";

/** A worker downloads right after its claim; an hour leaves room for a slow line. */
const urlSeconds = 3600;

type Claimed =
  | { claimed: false; reason: "held" | "ended"; detail: string }
  | {
    claimed: true;
    fence: number;
    training_object: string;
    training_sha256: string;
    validation_object: string | null;
    validation_sha256: string | null;
    resume: { step: number; prefix: string; files: ArtifactFile[] } | null;
    start_from: { prefix: string; files: ArtifactFile[] } | null;
  };

export async function claim(c: CallbackContext): Promise<Response> {
  const { sql, supabase, settings } = c.get("platform");
  const request = check(ClaimRequest, c.get("body"));
  const claimed = await call<Claimed>(
    sql,
    "claim_attempt",
    c.get("attemptId"),
    request.worker_id,
    request.runpod_job_id,
    settings.leaseSeconds,
    c.req.header("webhook-id")?.slice(0, 200) ?? null,
  );
  if (!claimed.claimed) return c.json(claimed satisfies z.infer<typeof ClaimReply>);
  const open = (object: string) => signedUrl(supabase, "tunebase-datasets", object, urlSeconds);
  const artifacts = ({ prefix, files }: { prefix: string; files: ArtifactFile[] }) =>
    signFiles(supabase, "tunebase-adapters", prefix, files, urlSeconds);
  const { resume, start_from } = claimed;
  const reply: z.infer<typeof ClaimReply> = {
    claimed: true,
    fence: claimed.fence,
    lease_seconds: settings.leaseSeconds,
    report_seconds: Math.max(1, Math.floor(settings.leaseSeconds / 4)),
    dataset_url: await open(claimed.training_object),
    dataset_sha256: claimed.training_sha256,
    validation_url: claimed.validation_object === null ? null : await open(claimed.validation_object),
    validation_sha256: claimed.validation_sha256,
    checkpoint_seconds: settings.checkpointSeconds,
    resume: resume === null ? null : { step: resume.step, files: await artifacts(resume) },
    start_from: start_from === null ? null : { files: await artifacts(start_from) },
  };
  return c.json(reply);
}
