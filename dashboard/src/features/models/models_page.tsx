/** Base models, and the project's fine-tuned models. */
import { unwrap } from "../../../../client/mod.ts";
import { formatBytes, formatCompact, formatUsd } from "../../lib/format.ts";
import { useApiMutation, useModels, usePermission } from "../../lib/queries.ts";
import { href } from "../../lib/router.ts";
import { getServices } from "../../lib/services.ts";
import type { BaseModel, FineTunedModel } from "../../lib/types.ts";
import { ActionButton } from "../../ui/action_button.tsx";
import { Time } from "../../ui/display.tsx";
import { EmptyState, QueryBoundary } from "../../ui/feedback.tsx";
import { Page } from "../../ui/page.tsx";
import { Table } from "../../ui/table.tsx";
import { TryIt } from "../playground/try_it.tsx";
import { Serving } from "./serving.tsx";

export function ModelsPage() {
  const models = useModels();
  const canEdit = usePermission("jobs:write");
  return (
    <Page title="Models">
      <QueryBoundary query={models} what="models">
        {({ base, fineTuned }) => (
          <>
            <h2>Base models</h2>
            {base.length === 0
              ? (
                <EmptyState title="No base models available">
                  <p>Ask the operator of this installation to add one.</p>
                </EmptyState>
              )
              : (
                <Table
                  label="Base models"
                  columns={[
                    "Model",
                    "Parameters",
                    "Max length",
                    "Training",
                    "Inference",
                    "",
                  ]}
                >
                  {base.map((model) => (
                    <BaseModelRow
                      key={model.id}
                      model={model}
                      canEdit={canEdit}
                    />
                  ))}
                </Table>
              )}
            <h2>Fine-tuned models</h2>
            {fineTuned.length === 0
              ? (
                <EmptyState title="No fine-tuned models yet">
                  <p>
                    When a fine-tuning job succeeds, its model appears here.
                  </p>
                  {canEdit && (
                    <a class="button primary" href={href(["new"])}>
                      Create a fine-tune
                    </a>
                  )}
                </EmptyState>
              )
              : (
                <Table
                  label="Fine-tuned models"
                  columns={[
                    "Model",
                    "Base model",
                    "Inference",
                    "Size",
                    "Created",
                    "",
                  ]}
                >
                  {fineTuned.map((model) => (
                    <FineTunedModelRow
                      key={model.id}
                      model={model}
                      canEdit={canEdit}
                    />
                  ))}
                </Table>
              )}
          </>
        )}
      </QueryBoundary>
    </Page>
  );
}

function BaseModelRow(
  { model, canEdit }: { model: BaseModel; canEdit: boolean },
) {
  const { id, owned_by, parameters, max_length, gpu } = model;
  return (
    <tr>
      <th scope="row">
        {id}
        <div class="quiet small">{owned_by}</div>
      </th>
      <td class="number">
        {parameters === null ? "–" : formatCompact(parameters)}
      </td>
      <td class="number">{formatCompact(max_length)} tokens</td>
      <td>
        {gpu.num_gpus} × {gpu.gpu_type}
        <div class="quiet small">
          {gpu.gpu_memory_gb > 0 && `${gpu.gpu_memory_gb} GB each, `}
          {formatUsd(gpu.cost_per_gpu_hour * gpu.num_gpus)} per hour
        </div>
      </td>
      <td>
        <Serving model={model} />
        {model.inference !== null && <div class="quiet small">{describePrice(model.inference)}</div>}
      </td>
      <td>
        <div class="actions">
          <TryIt model={id} what={id} />
          {canEdit && (
            <a
              href={href(["new"], { model: id })}
              aria-label={`Fine-tune ${id}`}
            >
              Fine-tune
            </a>
          )}
        </div>
      </td>
    </tr>
  );
}

/** `$0.10 in, $0.40 out per 1M tokens` */
function describePrice(
  {
    usd_per_million_input_tokens: input,
    usd_per_million_output_tokens: output,
    usd_per_hour,
  }: NonNullable<
    BaseModel["inference"]
  >,
): string {
  const tokens = input === 0 && output === 0
    ? []
    : [`${formatUsd(input)} in, ${formatUsd(output)} out per 1M tokens`];
  const time = usd_per_hour === 0 ? [] : [`${formatUsd(usd_per_hour)} per hour of answering`];
  return [...tokens, ...time].join("; ") || "free";
}

function FineTunedModelRow(
  { model, canEdit }: { model: FineTunedModel; canEdit: boolean },
) {
  const remove = useApiMutation(
    async () =>
      unwrap(
        await getServices().api.DELETE("/models/{id}", {
          params: { path: { id: model.id } },
        }),
      ),
    [["models"]],
  );
  return (
    <tr>
      <th scope="row">
        <a href={href(["jobs", model.job_id])}>{model.id}</a>
      </th>
      <td>{model.base_model}</td>
      <td>
        <Serving model={model} />
      </td>
      <td class="number">{formatBytes(model.bytes)}</td>
      <td>
        <Time at={model.created} />
      </td>
      <td>
        <div class="actions">
          <TryIt model={model.id} what={model.id} />
          {canEdit && (
            <>
              <a
                href={href(["new"], { model: model.id })}
                aria-label={`Continue training ${model.id}`}
              >
                Continue training
              </a>
              <ActionButton
                mutation={remove}
                label="Delete"
                danger
                confirmation={{
                  text: `This permanently deletes ${model.id}, its files and its checkpoints.`,
                  confirm: "Delete model",
                }}
              />
            </>
          )}
        </div>
      </td>
    </tr>
  );
}
