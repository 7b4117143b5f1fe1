/** POST /fine_tuning/jobs: OpenAI's body; the trainer's own hyperparameters stand beside OpenAI's. */
import { z } from "zod";
import { nudgeScheduler } from "../../_shared/addresses.ts";
import { call } from "../../_shared/database.ts";
import type { Tables } from "../../_shared/database.types.ts";
import { ApiError } from "../../_shared/errors.ts";
import { sha256Hex } from "../../_shared/secrets.ts";
import { check, fields, jsonBody } from "../../_shared/validation.ts";
import type { ApiContext } from "../context.ts";
import { parseId, prefixes } from "../ids.ts";
import { Hyperparameters, makePlan } from "../plan.ts";
import { type JobRow, renderJob } from "../render.ts";

const fileId = z.string().refine(
  (id) => parseId("file", id) !== null,
  `must be the id of an uploaded file (${prefixes.file}…). Upload one with POST /files.`,
);

const Body = fields({
  model: z.string().min(1),
  training_file: fileId,
  validation_file: fileId.nullish(),
  method: fields({
    type: z.literal("supervised", { error: 'must be "supervised", the only method offered' }),
    supervised: fields({ hyperparameters: Hyperparameters.optional() }).optional(),
  }).optional(),
  hyperparameters: Hyperparameters.optional(),
  suffix: z.string().regex(/^[A-Za-z0-9._-]{1,64}$/, "must be 1 to 64 of the characters A–Z a–z 0–9 . _ -")
    .nullish(),
  seed: z.int().min(0).max(2 ** 31 - 1).nullish(),
  metadata: z.record(z.string().max(64), z.string().max(512)).refine(
    (metadata) => Object.keys(metadata).length <= 16,
    "must have at most 16 keys",
  ).nullish(),
  spend_cap_usd: z.number().gt(0, "must be above 0").max(1_000_000).nullish(),
  integrations: z.array(z.unknown()).refine((list) => list.length === 0, "is not offered; leave it out")
    .nullish(),
});

export async function createJob(c: ApiContext): Promise<Response> {
  const { sql, settings, later } = c.get("platform");
  const caller = { json: c.get("caller") };
  const body = check(Body, await jsonBody(c.req.raw));
  const inMethod = body.method?.supervised?.hyperparameters;
  if (inMethod !== undefined && body.hyperparameters !== undefined) {
    throw new ApiError("invalid_request", [{
      param: "hyperparameters",
      message: "hyperparameters: stand in method.supervised already. Say them in one place.",
    }]);
  }
  const where = inMethod === undefined ? "hyperparameters" : "method.supervised.hyperparameters";
  const model = await call<Tables<"base_models">>(sql, "get_model", caller, body.model, "jobs:write");
  const seed = body.seed ?? 42;
  const { shown, plan } = makePlan(model, inMethod ?? body.hyperparameters ?? {}, seed, where);

  const key = c.req.header("idempotency-key");
  if (key !== undefined && (key.length < 1 || key.length > 255)) {
    throw new ApiError("invalid_request", [{
      param: "idempotency-key",
      message: "idempotency-key: must be 1 to 255 characters.",
    }]);
  }
  const row = await call<JobRow>(
    sql,
    "create_job",
    caller,
    {
      json: {
        base_model: model.id,
        training_file: parseId("file", body.training_file),
        validation_file: body.validation_file ? parseId("file", body.validation_file) : null,
        hyperparameters: shown,
        plan,
        suffix: body.suffix ?? null,
        seed,
        metadata: body.metadata ?? {},
        spend_cap_usd: body.spend_cap_usd ?? null,
        created_by: "user_id" in c.get("caller") ? "user" : "api_key",
      },
    },
    await sha256Hex(JSON.stringify([c.get("caller"), body])),
    key ?? null,
    Number(c.req.header("x-stainless-retry-count") ?? 0) >= 1,
  );
  later(nudgeScheduler(settings));
  return c.json(renderJob(row));
}
