/** Base models and fine-tuned models. */
import * as z from "zod";
import { count, id, stored, time, usd } from "./fields.ts";

const servable = {
  servable: z.boolean().describe("Whether POST /chat/completions accepts it"),
  servable_reason: z.string().nullable().describe("Why it cannot be called"),
};

export const BaseModel = z.object({
  id: z.string(),
  object: z.literal("model"),
  created: time,
  owned_by: z.string(),
  max_length: z.int().describe("The maximum length of a row in tokens"),
  defaults: stored(z.looseObject({})).describe('The values of "auto" and of omitted hyperparameters'),
  gpu: stored(z.object({
    gpu_type: z.string(),
    num_gpus: z.int(),
    gpu_memory_gb: z.number(),
    cost_per_gpu_hour: z.number(),
  })),
  parameters: z.number().nullable(),
  tokens_per_second: z.number().nullable(),
  ...servable,
  inference: z.object({
    max_length: z.int().describe("The context in tokens: prompt and answer"),
    max_rank: z.int().describe("The highest lora_rank of a fine-tune that can be called"),
    usd_per_million_input_tokens: usd,
    usd_per_million_output_tokens: usd,
    usd_per_hour: usd.describe("Charged for the time during which a request is answered"),
  }).nullable().describe("Limits and prices of inference. null: available for training only"),
}).meta({ id: "BaseModel" });
export type BaseModel = z.infer<typeof BaseModel>;

export const FineTunedModel = z.object({
  id: z.string().meta({ examples: ["ft:SmolLM2-135M-Instruct:acme:support:0f1e2d3c"] }),
  object: z.literal("model"),
  created: time,
  owned_by: id("proj_"),
  base_model: z.string(),
  job_id: id("ftjob-"),
  bytes: count,
  ...servable,
}).meta({ id: "FineTunedModel" });
export type FineTunedModel = z.infer<typeof FineTunedModel>;
export const Model = z.union([BaseModel, FineTunedModel]);

export const WarmModel = z.object({
  object: z.literal("model.warm"),
  model: z.string(),
  status: z.enum(["ready", "loading"]),
}).meta({ id: "WarmModel" });
export type WarmModel = z.infer<typeof WarmModel>;
