/** The files of an adapter, with download URLs. */
import * as z from "zod";
import { count, id, time } from "./fields.ts";

const DownloadFile = z.object({
  path: z.string(),
  bytes: count,
  sha256: z.string(),
  url: z.url().describe("A download URL that is valid until `expires_at`"),
  expires_at: time,
}).meta({ id: "DownloadFile" });

export const Adapter = z.object({
  object: z.literal("fine_tuning.job.adapter"),
  job_id: id("ftjob-"),
  fine_tuned_model: z.string(),
  created_at: time,
  format: z.literal("peft-lora"),
  base_model: z.string(),
  base_source: z.string().describe("The source of the base model: a Hub id"),
  base_revision: z.string().nullable(),
  total_bytes: count,
  files: z.array(DownloadFile),
  manifest: z.looseObject({}).describe(
    "How the adapter was trained: hyperparameters, dataset hash, library versions, and the SHA-256 of each file",
  ),
}).meta({ id: "Adapter" });

export const CheckpointAdapter = z.object({
  object: z.literal("fine_tuning.job.checkpoint.adapter"),
  job_id: id("ftjob-"),
  checkpoint_id: id("ftckpt-"),
  fine_tuned_model_checkpoint: z.string(),
  step_number: z.int(),
  base_model: z.string(),
  total_bytes: count,
  files: z.array(DownloadFile),
}).meta({ id: "CheckpointAdapter" });
