/** Creates a job: data, model, settings, and the estimate next to them. */
import { useMemo } from "preact/hooks";
import { unwrap } from "../../../../client/mod.ts";
import { useIdempotencyKey } from "../../lib/idempotency.ts";
import { useApiMutation, useModels, usePermission } from "../../lib/queries.ts";
import { navigate, type PageProps } from "../../lib/router.ts";
import { getServices } from "../../lib/services.ts";
import { CodeChoice } from "../../ui/code_choice.tsx";
import { ErrorMessage } from "../../ui/feedback.tsx";
import { Page } from "../../ui/page.tsx";
import { useFile } from "../files/file_queries.ts";
import { OverlapWarning } from "../files/overlap.tsx";
import { DataField } from "./data_field.tsx";
import { EstimateView, useEstimate } from "./estimate.tsx";
import { buildJobRequest, errorsByField, type JobForm, type JobRequest } from "./form.ts";
import { jobSnippets } from "./job_snippets.ts";
import { ModelField } from "./model_field.tsx";
import { SettingsFields } from "./settings_fields.tsx";
import { useJobForm } from "./use_job_form.ts";

export function NewJobPage({ route }: PageProps) {
  const { form, change: changeForm, isRestored, reset, forget } = useJobForm(route.query);
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
  const create = useCreateJob(body, forget);
  const { fields, other } = errorsByField(create.error ?? estimate.error);
  const change = (fields: Partial<JobForm>) => {
    create.reset(); // its errors are about the previous settings
    changeForm(fields);
  };
  return (
    <Page title="New fine-tune">
      {!canCreate && (
        <p class="notice">
          Your role doesn't allow creating jobs. Ask a project owner for the developer role.
        </p>
      )}
      {isRestored && (
        <p class="notice" role="status">
          Your previous settings were restored.{" "}
          <button type="button" class="small" onClick={reset}>Start over</button>
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
            <OverlapWarning trainingFile={form.training_file} validationFile={form.validation_file} />
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
                hasValidationFile={form.validation_file !== null}
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
          {fields.size > 0 && (
            <ul class="problem plain" role="alert">
              {[...fields.values()].map((problem) => <li key={problem}>{problem}</li>)}
            </ul>
          )}
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
            disabled={!canCreate || !isReady || body === null || fields.size > 0 ||
              create.isPending}
          >
            {create.isPending ? "Creating …" : form.wait ? "Create job" : "Start job"}
          </button>
          {body !== null && fields.size === 0 && (
            <details class="as-code">
              <summary>As code</summary>
              <CodeChoice legend="Language" snippets={jobSnippets(getServices().config.apiUrl, body)} />
            </details>
          )}
        </section>
      </form>
    </Page>
  );
}

/** Creates the job and opens its page. */
function useCreateJob(body: JobRequest | null, onCreated: () => void) {
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
    onCreated();
    navigate(["jobs", job.id]);
  }, [["jobs"]]);
}
