/** Base models and fine-tuned models. */
import * as z from "zod";
import { count, id, stored, time } from "./fields.ts";

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
}).meta({ id: "FineTunedModel" });
export type FineTunedModel = z.infer<typeof FineTunedModel>;
export const Model = z.union([BaseModel, FineTunedModel]);
