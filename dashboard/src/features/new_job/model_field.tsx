/** Chooses a base model, or one of the project's fine-tuned models to continue from. */
import type { ComponentChildren } from "preact";
import { formatCompact, formatUsd } from "../../lib/format.ts";
import type { useModels } from "../../lib/queries.ts";
import { EmptyState, QueryBoundary } from "../../ui/feedback.tsx";

export function ModelField({ models, value, onChange, fitsMemory }: {
  models: ReturnType<typeof useModels>;
  value: string | null;
  onChange: (id: string) => void;
  /** Whether the job fits the chosen model's GPU, if known. */
  fitsMemory: boolean | null | undefined;
}) {
  const option = (id: string, details: ComponentChildren) => (
    <label key={id}>
      <input
        type="radio"
        name="model"
        checked={value === id}
        onChange={() => onChange(id)}
      />{" "}
      <strong>{id}</strong>
      <div class="quiet small">{details}</div>
    </label>
  );
  return (
    <QueryBoundary query={models} what="models">
      {({ base, fineTuned }) =>
        base.length === 0
          ? (
            <EmptyState title="No base models available">
              <p>Ask the operator of this installation to add one.</p>
            </EmptyState>
          )
          : (
            <div class="choices">
              {base.map(({ id, gpu, max_length, parameters }) =>
                option(
                  id,
                  <>
                    {parameters !== null &&
                      `${formatCompact(parameters)} parameters, `}
                    rows of up to {formatCompact(max_length)} tokens
                    <br />
                    {gpu.num_gpus} × {gpu.gpu_type} · {formatUsd(gpu.cost_per_gpu_hour * gpu.num_gpus)}{" "}
                    per hour
                    {value === id && typeof fitsMemory === "boolean" && (
                      <>
                        <br />
                        {fitsMemory ? "This job fits in GPU memory." : "This job may not fit in GPU memory."}
                      </>
                    )}
                  </>,
                )
              )}
              {fineTuned.map(({ id, base_model }) =>
                option(
                  id,
                  `Your fine-tuned model. Continues from its adapter, on ${base_model}.`,
                )
              )}
            </div>
          )}
    </QueryBoundary>
  );
}
