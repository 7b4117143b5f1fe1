/** Validates the body of a job and derives its training configuration and estimate, to create or estimate the job. */
import * as z from "zod";
import { hyperparameters, type Method } from "../../_shared/contracts/hyperparameters.ts";
import { limits } from "../../_shared/contracts/limits.ts";
import { rpc } from "../../_shared/database/rpc.ts";
import { preferenceFormat } from "../../_shared/datasets/preference.ts";
import type { ErrorCode } from "../../_shared/contracts/error_codes.ts";
import { ApiError } from "../../_shared/errors.ts";
import { TrainingHyperparameters } from "../../_shared/protocol.ts";
import { jsonBody, parseOrThrow, strictObject } from "../../_shared/validation.ts";
import type { ApiContext } from "../context.ts";
import { countFiles, makeEstimate, stepWarnings } from "./estimate/mod.ts";
import { parseId, prefixes, publicId } from "../ids.ts";
import { Integrations, readIntegrations } from "./integrations.ts";
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
    `must have 1 to ${limits.suffixLength} characters from A–Z a–z 0–9 . _ -`,
  ).nullish(),
  seed: z.int().min(hyperparameters.seed.min).max(hyperparameters.seed.max).nullish(),
  metadata: z.record(z.string().max(limits.metadataKeyLength), z.string().max(limits.metadataValueLength))
    .refine(
      (metadata) => Object.keys(metadata).length <= limits.metadataKeys,
      `must have at most ${limits.metadataKeys} keys`,
    ).nullish(),
  spend_cap_usd: z.number().min(limits.minSpendCapUsd).max(limits.maxSpendCapUsd).nullish(),
  auto_start: z.boolean().nullish(),
  integrations: Integrations.nullish(),
});
export type JobBody = z.infer<typeof JobBody>;

export const exampleJob = {
  model: "SmolLM2-135M-Instruct",
  training_file: "file-0192f5c8a1b27c3d8e4f5a6b7c8d9e0f",
  suffix: "support",
  method: { type: "supervised", supervised: { hyperparameters: { n_epochs: 3, batch_size: "auto" } } },
  metadata: { team: "support" },
};
/** Error codes of `readJob`, in addition to `invalid_request`. */
export const jobErrors: ErrorCode[] = [
  "model_not_found",
  "file_not_found",
  "file_not_ready",
  "wrong_purpose",
  "unsupported",
  "adapter_deleted",
  "project_archived",
];

/** Parts of OpenAI's body that are not supported. Checked first, so that they get a specific error. */
const Unsupported = z.object({
  method: z.object({ type: z.literal("reinforcement") }).optional().catch(undefined),
});

/** Reads and validates a job request. Throws the same errors as creating the job. */
export async function readJob(c: ApiContext) {
  const json = await jsonBody(c.req);
  rejectUnsupported(json);
  const body = parseOrThrow(JobBody, json);
  const integrations = readIntegrations(body.integrations ?? [], c.get("platform").settings);
  const method = body.method?.type ?? "supervised";
  const inMethod = (body.method?.type === "dpo" ? body.method.dpo : body.method?.supervised)?.hyperparameters;
  if (inMethod !== undefined && body.hyperparameters !== undefined) {
    throw new ApiError("invalid_request", [{
      param: "hyperparameters",
      message: `hyperparameters: set them either at the top level or in method.${method}, not both.`,
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
  const config = resolveTrainingConfig(
    model,
    method,
    inMethod ?? body.hyperparameters ?? {},
    seed,
    where,
    parent === null ? null : TrainingHyperparameters.parse(parent.hyperparameters),
    files.validation !== null,
  );
  const counted = await countFiles(c.get("platform"), inputs, config.max_length);
  checkTemplate(body.model, files, counted);
  const { trained } = counted.training.file;
  const { publicHyperparameters, plan } = config.finalize(trained.expected);
  const estimate = makeEstimate(model, counted, plan);
  const { steps, rows } = estimate;
  if (trained.low === trained.high) rejectLongWarmup(plan.warmup_steps, steps.total, `${where}.warmup_steps`);
  return {
    body,
    files,
    model,
    parent: parent?.name ?? null,
    seed,
    publicHyperparameters,
    plan: { ...plan, ...integrations },
    estimate,
    /** Logged when the job is created. */
    warnings: stepWarnings(steps.total, rows.trained.expected, plan),
  };
}

/** Tool calls that the chat template does not render cannot be trained on: the job would fail on the GPU, at a cost. */
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
    if (file?.unrendered !== "calls") continue;
    const id = param === "training_file" ? files.training : files.validation;
    throw new ApiError("invalid_request", [{
      param: "model",
      message:
        `model = ${JSON.stringify(model)}: its chat template does not support tool calls, which ${param} = ` +
        `${
          publicId("file", id ?? "")
        } contains. Choose a base model that supports tools, or remove these rows.`,
      value: model,
    }]);
  }
}

/** Rejects a warm-up that takes all steps, if the number of steps is certain. */
function rejectLongWarmup(warmup: number | null, steps: number, param: string): void {
  if (warmup === null || warmup < steps) return;
  throw new ApiError("invalid_request", [{
    param,
    message:
      `${param} = ${warmup}: must be less than ${steps}, the total number of steps, or the learning rate never reaches ` +
      "its maximum. Use fewer warm-up steps, or omit it.",
    value: warmup,
  }]);
}

/** Checks that the files suit the training method. Files that are not validated yet are checked later (fail_job_with_file). */
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
        }: ${file.filename} has ${format} rows, but method "${method}" ` +
        (method === "dpo"
          ? `requires preference rows, such as ${preferenceFormat}. Use such rows, or omit the method.`
          : 'requires rows with one answer. Set method to {"type": "dpo"}, or use chat rows.'),
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
      message: `method.type = ${JSON.stringify(type)}: is not supported. Use "supervised" or "dpo".`,
      value: type,
    }]);
  }
}
