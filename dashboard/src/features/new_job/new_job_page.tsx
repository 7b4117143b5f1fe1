/** Creates a job: data, model, settings, and the estimate next to them. */
import { useMemo, useState } from "preact/hooks";
import { unwrap } from "../../../../client/mod.ts";
import { useIdempotencyKey } from "../../lib/idempotency.ts";
import { useApiMutation, useModels, usePermission } from "../../lib/queries.ts";
import { navigate, type PageProps } from "../../lib/router.ts";
import { getServices } from "../../lib/services.ts";
import { ErrorMessage } from "../../ui/feedback.tsx";
import { Page } from "../../ui/page.tsx";
import { useFile } from "../files/file_queries.ts";
import { DataField } from "./data_field.tsx";
import { EstimateView, useEstimate } from "./estimate.tsx";
import { buildJobRequest, errorsByField, type JobForm, type JobRequest, readForm } from "./form.ts";
import { ModelField } from "./model_field.tsx";
import { SettingsFields } from "./settings_fields.tsx";

export function NewJobPage({ route }: PageProps) {
  const [form, setForm] = useState<JobForm>(() => readForm(route.query));
  const change = (fields: Partial<JobForm>) => setForm((before) => ({ ...before, ...fields }));
  const models = useModels();
  const canCreate = usePermission("jobs:write");
  const model = form.model ?? models.data?.base[0]?.id ?? null;
  const file = useFile(form.training_file);
  const format = file.data?.report?.format ?? null;
  const body = useMemo(() => buildJobRequest({ ...form, model }, format), [
    form,
    model,
    format,
  ]);
  const isReady = file.data?.status === "processed";
  const estimate = useEstimate(isReady ? body : null);
  const create = useCreateJob(body);
  const { fields, other } = errorsByField(create.error ?? estimate.error);
  return (
    <Page title="New fine-tune">
      {!canCreate && (
        <p class="notice">
          Your role doesn't allow creating jobs. Ask a project owner for the developer role.
        </p>
      )}
      <form
        class="two"
        onSubmit={(event) => {
          event.preventDefault();
          create.mutate();
        }}
      >
        <div>
          <section aria-labelledby="data">
            <h2 id="data">1. Data</h2>
            <DataField
              label="Training data"
              hint='JSON Lines, one row per line: {"messages": […]} or preference pairs. Prompt/completion, CSV, ShareGPT and Alpaca files are converted. The file is validated in your browser first.'
              value={form.training_file}
              onChange={(training_file) => change({ training_file })}
            />
            <details open={form.validation_file !== null}>
              <summary>Validation data (optional)</summary>
              <DataField
                label="Validation data"
                hint="Held-out rows. Validation loss shows whether the model is overfitting."
                value={form.validation_file}
                onChange={(validation_file) => change({ validation_file })}
              />
            </details>
          </section>
          <section>
            <fieldset>
              <legend>
                <h2>2. Model</h2>
              </legend>
              <ModelField
                models={models}
                value={model}
                onChange={(id) => change({ model: id })}
                fitsMemory={estimate.data?.memory.fits}
              />
            </fieldset>
          </section>
          <section aria-labelledby="settings">
            <h2 id="settings">3. Settings</h2>
            <SettingsFields
              form={form}
              change={change}
              isPreference={format === "preference"}
              autoValues={estimate.data?.hyperparameters ?? {}}
              errors={fields}
            />
          </section>
        </div>
        <section class="stick" aria-labelledby="estimate" aria-live="polite">
          <h2 id="estimate">Estimate</h2>
          {estimate.data !== undefined && isReady
            ? (
              <EstimateView
                estimate={estimate.data}
                isUpdating={estimate.isUpdating}
              />
            )
            : (
              <p class="quiet">
                {form.training_file === null
                  ? "Choose training data to see the estimated cost and time."
                  : isReady && other === null && fields.size === 0
                  ? "Estimating …"
                  : "The estimate appears once the data is validated and the settings are valid."}
              </p>
            )}
          {fields.size > 0 && <p class="problem" role="alert">{[...fields.values()].join(" ")}</p>}
          {other && <ErrorMessage error={other} />}
          <p>
            <label>
              <input
                type="checkbox"
                checked={form.wait}
                onChange={(event) => change({ wait: event.currentTarget.checked })}
              />{" "}
              Create without starting
            </label>
          </p>
          <button
            type="submit"
            class="primary"
            disabled={!canCreate || !isReady || body === null ||
              create.isPending}
          >
            {create.isPending ? "Creating …" : form.wait ? "Create job" : "Start job"}
          </button>
        </section>
      </form>
    </Page>
  );
}

/** Creates the job and opens its page. */
function useCreateJob(body: JobRequest | null) {
  const keyOf = useIdempotencyKey();
  return useApiMutation(async () => {
    if (body === null) {
      throw new Error("Choose training data and a model first.");
    }
    const job = unwrap(
      await getServices().api.POST("/fine_tuning/jobs", {
        body,
        params: { header: { "Idempotency-Key": keyOf(body) } },
      }),
    );
    navigate(["jobs", job.id]);
  }, [["jobs"]]);
}
