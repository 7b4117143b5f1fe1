/** The body of a job to be, with what follows from it: its plan and its estimate. For creating and for estimating. */
import * as z from "zod";
import { hyperparameters, type Method } from "../../_shared/contracts/hyperparameters.ts";
import { limits } from "../../_shared/contracts/limits.ts";
import { rpc } from "../../_shared/database/rpc.ts";
import { preferenceFormat } from "../../_shared/datasets/preference.ts";
import { ApiError, type ErrorCode } from "../../_shared/errors.ts";
import { TrainingHyperparameters, Wandb } from "../../_shared/protocol.ts";
import { jsonBody, parseOrThrow, strictObject } from "../../_shared/validation.ts";
import type { ApiContext } from "../context.ts";
import { countFiles, makeEstimate, warnOfSteps } from "./estimate/mod.ts";
import { parseId, prefixes, publicId } from "../ids.ts";
import { Hyperparameters, resolveTrainingConfig } from "./training_config.ts";
import { EstimateInputs } from "../rows.ts";

const fileId = z.string().refine(
  (id) => parseId("file", id) !== null,
  `must be the id of an uploaded file (${prefixes.file}…). Upload one with POST /files.`,
);

export const JobBody = strictObject({
  model: z.string().min(1),
  training_file: fileId,
  validation_file: fileId.nullish(),
  method: z.discriminatedUnion("type", [
    strictObject({
      type: z.literal("supervised"),
      supervised: strictObject({ hyperparameters: Hyperparameters.optional() }).optional(),
    }),
    strictObject({
      type: z.literal("dpo"),
      dpo: strictObject({ hyperparameters: Hyperparameters.optional() }).optional(),
    }),
  ], { error: ({ code }) => code === "invalid_union" ? 'must be "supervised" or "dpo"' : undefined })
    .optional(),
  hyperparameters: Hyperparameters.optional(),
  suffix: z.string().regex(
    new RegExp(`^[A-Za-z0-9._-]{1,${limits.suffixLength}}$`),
    `must be 1 to ${limits.suffixLength} of the characters A–Z a–z 0–9 . _ -`,
  ).nullish(),
  seed: z.int().min(hyperparameters.seed.min).max(hyperparameters.seed.max).nullish(),
  metadata: z.record(z.string().max(limits.metadataKeyLength), z.string().max(limits.metadataValueLength))
    .refine(
      (metadata) => Object.keys(metadata).length <= limits.metadataKeys,
      `must have at most ${limits.metadataKeys} keys`,
    ).nullish(),
  spend_cap_usd: z.number().min(limits.minSpendCapUsd).max(limits.maxSpendCapUsd).nullish(),
  auto_start: z.boolean().nullish(),
  integrations: z.array(strictObject({ type: z.literal("wandb"), wandb: Wandb })).max(
    1,
    "must be one at the most",
  )
    .nullish(),
});
export type JobBody = z.infer<typeof JobBody>;

export const exampleJob = {
  model: "SmolLM2-135M-Instruct",
  training_file: "file-0192f5c8a1b27c3d8e4f5a6b7c8d9e0f",
  suffix: "support",
  method: { type: "supervised", supervised: { hyperparameters: { n_epochs: 3, batch_size: "auto" } } },
  metadata: { team: "support" },
};
/** What `readJob` refuses, beside a body that is not valid. */
export const jobErrors: ErrorCode[] = [
  "model_not_found",
  "file_not_found",
  "file_not_ready",
  "wrong_purpose",
  "unsupported",
  "adapter_deleted",
  "project_archived",
];

/** What of OpenAI's body is known and not offered: told by name, before anything else is looked at. */
const Unsupported = z.object({
  method: z.object({ type: z.literal("reinforcement") }).optional().catch(undefined),
});

/** Reads, checks and plans the request's job. Refuses as creating it would. */
export async function readJob(c: ApiContext) {
  const json = await jsonBody(c.req.raw);
  rejectUnsupported(json);
  const body = parseOrThrow(JobBody, json);
  if (body.integrations?.length && !c.get("platform").settings.wandb) {
    throw new ApiError("unsupported", [{
      param: "integrations",
      message:
        "integrations: this server sends nothing to Weights & Biases. Leave them out, or ask its operator to set " +
        "TUNEBASE_WANDB. GET …/metrics has every step, and result_files a CSV.",
    }]);
  }
  const method = body.method?.type ?? "supervised";
  const inMethod = (body.method?.type === "dpo" ? body.method.dpo : body.method?.supervised)?.hyperparameters;
  if (inMethod !== undefined && body.hyperparameters !== undefined) {
    throw new ApiError("invalid_request", [{
      param: "hyperparameters",
      message: `hyperparameters: stand in method.${method} already. Say them in one place.`,
    }]);
  }
  const where = inMethod === undefined ? "hyperparameters" : `method.${method}.hyperparameters`;
  const files = {
    training: parseId("file", body.training_file),
    validation: body.validation_file ? parseId("file", body.validation_file) : null,
  };
  const inputs = await rpc(c.get("platform").db, "get_estimate_inputs", {
    caller: c.get("caller"),
    model: body.model,
    training_file: files.training,
    validation_file: files.validation,
  }, EstimateInputs);
  checkFormats(method, inputs);
  const seed = body.seed ?? hyperparameters.seed.leftOut;
  const { model, parent } = inputs;
  const draft = resolveTrainingConfig(
    model,
    method,
    inMethod ?? body.hyperparameters ?? {},
    seed,
    where,
    parent === null ? null : TrainingHyperparameters.parse(parent.hyperparameters),
    files.validation !== null,
  );
  const counted = await countFiles(c.get("platform"), inputs, draft.max_length);
  checkTemplate(body.model, files, counted);
  const { trained } = counted.training.file;
  const { shown, plan } = draft.settle(trained.expected);
  const estimate = makeEstimate(model, counted, plan);
  const { steps, rows } = estimate;
  if (trained.low === trained.high) rejectLongWarmup(plan.warmup_steps, steps.total, `${where}.warmup_steps`);
  const wandb = body.integrations?.[0]?.wandb ?? null;
  return {
    body,
    files,
    model,
    parent: parent?.name ?? null,
    seed,
    shown,
    plan: { ...plan, wandb },
    estimate,
    /** What the job's log says from the start. */
    warnings: warnOfSteps(steps.total, rows.trained.expected, plan),
  };
}

/** Calls that the template does not show cannot be learned: the training would end on the GPU, and be paid for. */
function checkTemplate(
  model: string,
  files: { training: string | null; validation: string | null },
  counted: Awaited<ReturnType<typeof countFiles>>,
): void {
  for (
    const [param, file] of [["training_file", counted.training], [
      "validation_file",
      counted.validation,
    ]] as const
  ) {
    if (file?.hides !== "calls") continue;
    const id = param === "training_file" ? files.training : files.validation;
    throw new ApiError("invalid_request", [{
      param: "model",
      message:
        `model = ${
          JSON.stringify(model)
        }: its chat template does not show tool calls, which rows of ${param} = ` +
        `${
          publicId("file", id ?? "")
        } have. Choose a base model that was made for tools, or leave these rows out.`,
      value: model,
    }]);
  }
}

/** Where the number of steps is certain, a warm-up that takes all of them is a mistake. */
function rejectLongWarmup(warmup: number | null, steps: number, param: string): void {
  if (warmup === null || warmup < steps) return;
  throw new ApiError("invalid_request", [{
    param,
    message:
      `${param} = ${warmup}: must be below ${steps}, all the steps of this plan, or the learning rate never gets to ` +
      "its height. Use fewer, or leave it out.",
    value: warmup,
  }]);
}

/** Each method trains on rows of its own kind. Files still being validated are checked later (fail_job_with_file). */
function checkFormats(method: Method, { training, validation }: EstimateInputs): void {
  const problems = [["training_file", training], ["validation_file", validation]] as const;
  const found = problems.flatMap(([param, file]) => {
    const { format } = Formatted.parse(file?.report ?? {});
    if (file === null || !format || (format === "preference") === (method === "dpo")) return [];
    return [{
      param,
      message:
        `${param} = ${
          publicId("file", file.id)
        }: ${file.filename} has ${format} rows, and method "${method}" ` +
        (method === "dpo"
          ? `learns from preferences. Give it rows such as ${preferenceFormat}, or leave the method out.`
          : 'learns from one answer a row. Say method {"type": "dpo"}, or give it chat rows.'),
      value: publicId("file", file.id),
    }];
  });
  if (found.length > 0) throw new ApiError("invalid_request", found);
}
const Formatted = z.looseObject({ format: z.string().nullish() });

function rejectUnsupported(json: unknown): void {
  const found = Unsupported.safeParse(json).data;
  const type = found?.method?.type;
  if (type !== undefined) {
    throw new ApiError("unsupported", [{
      param: "method.type",
      message: `method.type = ${JSON.stringify(type)}: is not offered yet; "supervised" and "dpo" are.`,
      value: type,
    }]);
  }
}
