/** The models to choose from: fine-tuned models, their jobs' checkpoints, and base models. */
import { useQuery } from "@tanstack/preact-query";
import { unwrap } from "../../../../client/mod.ts";
import { formatCount } from "../../lib/format.ts";
import type { useModels } from "../../lib/queries.ts";
import { getServices } from "../../lib/services.ts";
import type { BaseModel, FineTunedModel } from "../../lib/types.ts";

export type ModelList = NonNullable<ReturnType<typeof useModels>["data"]>;

export interface PlaygroundModel {
  /** The value of the request's `model`. */
  id: string;
  kind: "tuned" | "checkpoint" | "base";
  /** What distinguishes its answers from another model's: "Checkpoint of step 8". */
  label: string;
  /** Its base model; for a base model, itself. */
  base: string;
  /** The job that trained it. */
  jobId: string | null;
  /** Why it cannot answer; null if it can. */
  unavailable: string | null;
}

const checkpointName = /^ft:(.+):(ftjob-[0-9a-f]+):ckpt-step-(\d+)$/;

/** Describes the model with this name; null if the project has none. */
export function findModel(
  { base, fineTuned }: ModelList,
  id: string,
): PlaygroundModel | null {
  const tuned = fineTuned.find((model) => model.id === id);
  if (tuned !== undefined) {
    const { base_model, job_id } = tuned;
    return {
      id,
      kind: "tuned",
      label: "Fine-tuned model",
      base: base_model,
      jobId: job_id,
      unavailable: whyUnavailable(tuned),
    };
  }
  const [, baseName, jobId, step] = checkpointName.exec(id) ?? [];
  const baseModel = base.find((model) => model.id === (baseName ?? id));
  if (baseName !== undefined && jobId !== undefined) {
    return {
      id,
      kind: "checkpoint",
      label: `Checkpoint of step ${formatCount(Number(step))}`,
      base: baseName,
      jobId,
      // A job without a model, for example a cancelled one, has checkpoints too.
      unavailable: whyUnavailable(
        fineTuned.find((model) => model.job_id === jobId) ?? baseModel,
      ),
    };
  }
  return baseModel === undefined ? null : {
    id,
    kind: "base",
    label: "Base model",
    base: id,
    jobId: null,
    unavailable: whyUnavailable(baseModel),
  };
}

function whyUnavailable(model: BaseModel | FineTunedModel | undefined): string | null {
  return model === undefined || model.servable
    ? null
    : model.servable_reason ?? "This installation does not serve it.";
}

/** The initial model: the newest available fine-tuned model, else an available base model. */
export function defaultModel({ base, fineTuned }: ModelList): string | null {
  const newest = fineTuned.toSorted((a, b) => b.created - a.created);
  const all = [...newest, ...base];
  return (all.find((model) => whyUnavailable(model) === null) ?? all[0])?.id ??
    null;
}

export const useCheckpoints = (jobId: string | null) =>
  useQuery({
    queryKey: ["checkpoints", jobId],
    enabled: jobId !== null,
    staleTime: 60_000,
    queryFn: async () =>
      unwrap(
        await getServices().api.GET("/fine_tuning/jobs/{id}/checkpoints", {
          params: { path: { id: jobId ?? "" } },
        }),
      ).data,
  });
