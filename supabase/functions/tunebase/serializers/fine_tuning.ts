/** Serializes database rows as OpenAI's objects, with additional fields. */
import * as z from "zod";
import { HuggingFace, Wandb } from "../../_shared/protocol.ts";
import { publicId } from "../ids.ts";
import type * as objects from "../openapi/objects/index.ts";
import type {
  CheckpointRow,
  EventRow,
  FileRow,
  FineTuneRow,
  JobRow,
  OfferedModelRow,
  UploadRow,
} from "../rows.ts";
import { seconds } from "../time.ts";

export function renderFile(row: FileRow): objects.File {
  return {
    id: publicId("file", row.id),
    object: "file" as const,
    // Of a file that was converted, what was uploaded: it is what /content answers.
    bytes: row.original_bytes ?? row.bytes,
    created_at: seconds(row.created_at),
    expires_at: seconds(row.expires_at),
    filename: row.filename,
    purpose: row.purpose,
    status: row.status,
    status_details: row.status_details,
    sha256: row.original_sha256 ?? row.sha256,
    // Result files have no report, and until a file is validated its report is empty.
    report: row.purpose === "fine-tune" && Object.keys(row.report ?? {}).length > 0 ? row.report : null,
    source_format: row.source_format,
    conversion: row.conversion,
  };
}

export function renderUpload(row: UploadRow): objects.Upload {
  return {
    id: publicId("upload", row.id),
    object: "upload" as const,
    bytes: row.bytes,
    created_at: seconds(row.created_at),
    expires_at: seconds(row.expires_at),
    filename: row.filename,
    purpose: row.purpose,
    status: row.status,
    file: row.file ? renderFile(row.file) : null,
  };
}

/** A fine_tuning.job object. Progress, cost and hints are our additions. */
export function renderJob(row: JobRow): objects.Job {
  return {
    id: publicId("job", row.id),
    object: "fine_tuning.job" as const,
    created_at: seconds(row.created_at),
    started_at: seconds(row.started_at),
    finished_at: seconds(row.finished_at),
    estimated_finish: seconds(row.estimated_finish),
    status: row.status,
    stage: row.stage,
    model: row.parent_model ?? row.base_model,
    base_model: row.base_model,
    fine_tuned_model: row.fine_tuned_model,
    training_file: publicId("file", row.training_file),
    validation_file: row.validation_file === null ? null : publicId("file", row.validation_file),
    hyperparameters: row.hyperparameters,
    method: row.method === "dpo"
      ? { type: "dpo" as const, dpo: { hyperparameters: row.hyperparameters } }
      : { type: "supervised" as const, supervised: { hyperparameters: row.hyperparameters } },
    seed: row.seed,
    suffix: row.suffix,
    metadata: row.metadata,
    integrations: renderIntegrations(row),
    organization_id: publicId("project", row.project_id),
    result_files: row.result_file === null ? [] : [publicId("file", row.result_file)],
    trained_tokens: row.status === "succeeded" || row.trained_tokens > 0 ? row.trained_tokens : null,
    progress: row.progress,
    current_epoch: row.current_epoch,
    total_epochs: row.total_epochs,
    current_step: row.current_step,
    total_steps: row.total_steps,
    tokens_per_second: row.tokens_per_second,
    training_loss: row.training_loss,
    running_seconds: row.running_seconds ?? null,
    cost_usd: row.cost_usd,
    spend_cap_usd: row.spend_cap_usd,
    reserved_usd: row.reserved_usd,
    pause_requested: row.pause_requested,
    status_reason: row.status_reason,
    queue: row.queue ?? null,
    auto_start: row.auto_start,
    estimate: row.estimate,
    evaluation: row.evaluation,
    error: row.error_code === null ? null : {
      code: row.error_code,
      message: row.error_message ?? row.error_code,
      param: row.error_param,
      hint: row.error_hint,
    },
  };
}

function renderIntegrations({ wandb, huggingface, hub_url }: JobRow): objects.Job["integrations"] {
  const integrations = [
    ...(wandb === null ? [] : [{ type: "wandb" as const, wandb: Wandb.parse(wandb) }]),
    ...(huggingface === null ? [] : [{
      type: "huggingface" as const,
      huggingface: { ...HuggingFace.parse(huggingface), url: hub_url },
    }]),
  ];
  return integrations.length === 0 ? null : integrations;
}

/** A fine_tuning.job.event object. */
export function renderEvent(row: EventRow): objects.Event {
  return {
    id: publicId("event", row.id),
    object: "fine_tuning.job.event" as const,
    created_at: seconds(row.created_at),
    level: row.level,
    message: row.message,
    type: row.type,
    data: row.data,
    number: row.number,
  };
}

/** A fine_tuning.job.checkpoint object. */
export function renderCheckpoint(row: CheckpointRow): objects.Checkpoint {
  const metrics = CheckpointMetrics.parse(row.metrics);
  return {
    id: publicId("checkpoint", row.id),
    object: "fine_tuning.job.checkpoint" as const,
    created_at: seconds(row.created_at),
    fine_tuning_job_id: publicId("job", row.job_id),
    fine_tuned_model_checkpoint: `ft:${row.model}:${publicId("job", row.job_id)}:ckpt-step-${row.step}`,
    step_number: row.step,
    metrics: {
      step: row.step,
      ...(metrics.training_loss === undefined ? {} : { train_loss: metrics.training_loss }),
      ...(metrics.validation_loss === undefined ? {} : { valid_loss: metrics.validation_loss }),
    },
  };
}
const CheckpointMetrics = z.object({
  training_loss: z.number().optional(),
  validation_loss: z.number().optional(),
});

/** A model object, with what users need to choose one. */
export function renderModel(row: OfferedModelRow): objects.BaseModel {
  return {
    id: row.id,
    object: "model" as const,
    created: seconds(row.created_at),
    owned_by: row.owned_by,
    max_length: row.max_length,
    defaults: row.defaults,
    gpu: row.gpu_config,
    parameters: row.parameters,
    tokens_per_second: row.tokens_per_second,
    ...renderServable(row),
    inference: row.inference_endpoint_id === null ? null : {
      max_length: row.inference_max_length ?? row.max_length,
      max_rank: row.inference_max_rank,
      usd_per_million_input_tokens: row.inference_usd_per_million_input_tokens,
      usd_per_million_output_tokens: row.inference_usd_per_million_output_tokens,
      usd_per_hour: row.inference_usd_per_hour,
    },
  };
}

/** The model object of a fine-tuned model. */
export function renderFineTune(row: FineTuneRow): objects.FineTunedModel {
  return {
    id: row.name,
    object: "model" as const,
    created: seconds(row.created_at),
    owned_by: publicId("project", row.project_id),
    base_model: row.base_model,
    job_id: publicId("job", row.job_id),
    bytes: row.bytes,
    ...renderServable(row),
  };
}

const renderServable = ({ servable_reason }: { servable_reason: string | null }) => ({
  servable: servable_reason === null,
  servable_reason,
});
