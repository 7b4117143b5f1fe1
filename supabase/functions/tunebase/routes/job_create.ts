/** POST /fine_tuning/jobs: OpenAI's body; the trainer's own hyperparameters stand beside OpenAI's. */
import { nudgeScheduler } from "../../_shared/addresses.ts";
import { rpc } from "../../_shared/database/rpc.ts";
import { ApiError } from "../../_shared/errors.ts";
import { sha256Hex } from "../../_shared/secrets.ts";
import type { ApiContext } from "../context.ts";
import { readJob } from "../job_request.ts";
import { renderJob } from "../render.ts";
import { JobRow } from "../rows.ts";

export async function createJob(c: ApiContext): Promise<Response> {
  const { db, settings, later } = c.get("platform");
  const { body, files, model, parent, seed, shown, plan, estimate, warnings } = await readJob(c);
  const key = c.req.header("idempotency-key");
  if (key !== undefined && (key.length < 1 || key.length > 255)) {
    throw new ApiError("invalid_request", [{
      param: "idempotency-key",
      message: "idempotency-key: must be 1 to 255 characters.",
    }]);
  }
  const row = await rpc(db, "create_job", {
    caller: c.get("caller"),
    job: {
      base_model: model.id,
      parent_model: parent,
      training_file: files.training,
      validation_file: files.validation,
      hyperparameters: shown,
      plan,
      suffix: body.suffix ?? null,
      seed,
      metadata: body.metadata ?? {},
      spend_cap_usd: body.spend_cap_usd ?? null,
      auto_start: body.auto_start ?? true,
      estimate,
      warnings,
      created_by: "user_id" in c.get("caller") ? "user" : "api_key",
    },
    request_hash: await sha256Hex(JSON.stringify([c.get("caller"), body])),
    idempotency_key: key ?? null,
    is_retry: Number(c.req.header("x-stainless-retry-count") ?? 0) >= 1,
  }, JobRow);
  later(nudgeScheduler(settings));
  return c.json(renderJob(row));
}
