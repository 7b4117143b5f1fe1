/** A new fine-tune: data, model, settings; what it will take; start. */
import { useMemo, useRef, useState } from "preact/hooks";
import { unwrap } from "../../../client/mod.ts";
import type { PageProps } from "../app.tsx";
import { useChange, useFile, useMay, useModels } from "../data.ts";
import { short, usd } from "../format.ts";
import { go } from "../router.ts";
import { use } from "../services.ts";
import { Field, Loaded, Page, Problem } from "../ui/basics.tsx";
import { DataField } from "./new/data_field.tsx";
import { EstimateView, useEstimate } from "./new/estimate.tsx";
import {
  bodyOf,
  type Form,
  mainSettings,
  moreSettings,
  preferenceSettings,
  problemsByField,
  readForm,
  type SettingField,
} from "./new/form.ts";
import { Setting } from "./new/setting.tsx";

export function NewJobPage({ route }: PageProps) {
  const [form, setForm] = useState<Form>(() => readForm(route.query));
  const change = (some: Partial<Form>) => setForm((before) => ({ ...before, ...some }));
  const models = useModels();
  const may = useMay("jobs:write");
  const model = form.model ?? models.data?.base[0]?.id ?? null;
  const file = useFile(form.training_file);
  const format = file.data?.report?.format ?? null;
  const body = useMemo(() => bodyOf({ ...form, model }, format), [form, model, format]);
  const ready = file.data?.status === "processed";
  const estimate = useEstimate(ready ? body : null);
  // The same key until something changes: a second click, or a second try, makes no second job.
  const key = useRef({ body: "", key: "" });
  const start = useChange(async () => {
    if (body === null) throw new Error("Choose the data and the model first.");
    const text = JSON.stringify(body);
    if (key.current.body !== text) key.current = { body: text, key: crypto.randomUUID() };
    const job = unwrap(
      await use().api.POST("/fine_tuning/jobs", {
        body,
        params: { header: { "Idempotency-Key": key.current.key } },
      }),
    );
    go(["jobs", job.id]);
  }, [["jobs"]]);
  const more = format === "preference" ? [...preferenceSettings, ...moreSettings] : moreSettings;
  const { fields, rest } = problemsByField(start.error ?? estimate.error);
  const autos: Record<string, unknown> = estimate.data?.hyperparameters ?? {};
  const setting = (of: SettingField) => (
    <Setting
      key={of.name}
      of={of}
      value={form.settings[of.name] ?? ""}
      change={(value) => change({ settings: { ...form.settings, [of.name]: value } })}
      auto={autos[of.name]}
      error={fields.get(of.name)}
    />
  );

  return (
    <Page title="New fine-tune">
      {!may && (
        <p class="notice">You may look here, but not start jobs: an owner of the project can change that.</p>
      )}
      <form
        class="two"
        onSubmit={(event) => {
          event.preventDefault();
          start.mutate();
        }}
      >
        <div>
          <section aria-labelledby="data">
            <h2 id="data">1. Data</h2>
            <DataField
              label="Training data"
              hint='JSON lines: {"messages": […]}, {"prompt", "completion"} or preferences, one row a line. It is checked here first.'
              value={form.training_file}
              choose={(training_file) => change({ training_file })}
            />
            <details open={form.validation_file !== null}>
              <summary>Validation data (optional)</summary>
              <DataField
                label="Validation data"
                hint="Rows that are not trained on: their loss shows whether it learns or learns by heart."
                value={form.validation_file}
                choose={(validation_file) => change({ validation_file })}
              />
            </details>
          </section>
          <section>
            <fieldset>
              <legend>
                <h2>2. Model</h2>
              </legend>
              <Loaded of={models}>
                {({ base, own }) => (
                  <div class="choices">
                    {base.map(({ id, gpu, max_length, parameters }) => (
                      <label key={id}>
                        <input
                          type="radio"
                          name="model"
                          checked={model === id}
                          onChange={() => change({ model: id })}
                        />{" "}
                        <strong>{id}</strong>
                        <div class="quiet small">
                          {parameters !== null && `${short(parameters)} parameters, `}
                          rows of up to {short(max_length)} tokens
                          <br />
                          {gpu.num_gpus} × {gpu.gpu_type} · {usd(gpu.cost_per_gpu_hour * gpu.num_gpus)}{" "}
                          an hour
                          {model === id && typeof estimate.data?.memory.fits === "boolean" && (
                            <>
                              <br />
                              {estimate.data.memory.fits
                                ? "Its memory is enough."
                                : "Its memory may not be enough."}
                            </>
                          )}
                        </div>
                      </label>
                    ))}
                    {own.map(({ id, base_model }) => (
                      <label key={id}>
                        <input
                          type="radio"
                          name="model"
                          checked={model === id}
                          onChange={() => change({ model: id })}
                        />{" "}
                        <strong>{id}</strong>
                        <div class="quiet small">your own; goes on from its adapter, on {base_model}</div>
                      </label>
                    ))}
                  </div>
                )}
              </Loaded>
            </fieldset>
          </section>
          <section aria-labelledby="settings">
            <h2 id="settings">3. Settings</h2>
            <p class="quiet">
              What is left empty is{" "}
              <strong>auto</strong>: the value that the operator found good for this model. It is written out
              in the job.
            </p>
            <div class="fields">{mainSettings.map(setting)}</div>
            <div class="fields">
              <Field label="Name" hint="Ends the model's name." error={fields.get("suffix")}>
                {(control) => (
                  <input
                    {...control}
                    type="text"
                    maxLength={64}
                    pattern="[A-Za-z0-9._\-]*"
                    value={form.suffix}
                    onInput={(event) => change({ suffix: event.currentTarget.value })}
                  />
                )}
              </Field>
              <Field
                label="Spend at most, in USD"
                hint="The job is ended before it costs more."
                error={fields.get("spend_cap_usd")}
              >
                {(control) => (
                  <input
                    {...control}
                    type="number"
                    min={0.0001}
                    step="any"
                    placeholder="no cap"
                    value={form.spend_cap_usd}
                    onInput={(event) => change({ spend_cap_usd: event.currentTarget.value })}
                  />
                )}
              </Field>
            </div>
            <details open={more.some(({ name }) => fields.has(name))}>
              <summary>More settings</summary>
              <div class="fields">
                {more.filter(({ kind }) => kind !== "list").map(setting)}
                <Field label="Seed" hint="The same seed shuffles the same way." error={fields.get("seed")}>
                  {(control) => (
                    <input
                      {...control}
                      type="number"
                      min={0}
                      step={1}
                      placeholder="42"
                      value={form.seed}
                      onInput={(event) => change({ seed: event.currentTarget.value })}
                    />
                  )}
                </Field>
              </div>
              {more.filter(({ kind }) => kind === "list").map(setting)}
              <Field
                label="Metadata"
                hint="To find the job by: one key=value per line."
                error={fields.get("metadata")}
              >
                {(control) => (
                  <textarea
                    {...control}
                    rows={2}
                    value={form.metadata}
                    onInput={(event) => change({ metadata: event.currentTarget.value })}
                  />
                )}
              </Field>
              {form.wandb !== null && (
                <p>
                  Shown on Weights & Biases in the project {form.wandb.project}.{" "}
                  <button type="button" class="small" onClick={() => change({ wandb: null })}>Remove</button>
                </p>
              )}
            </details>
          </section>
        </div>
        <section class="stick" aria-labelledby="takes" aria-live="polite">
          <h2 id="takes">What it will take</h2>
          {estimate.data !== undefined && ready
            ? <EstimateView of={estimate.data} busy={estimate.isSettling} />
            : (
              <p class="quiet">
                {form.training_file === null
                  ? "Choose the data: what it costs and how long it takes is shown here."
                  : ready && rest === null && fields.size === 0
                  ? "Estimating …"
                  : "It is shown once the data are checked and the settings are in order."}
              </p>
            )}
          {fields.size > 0 && <p class="problem" role="alert">{[...fields.values()].join(" ")}</p>}
          {rest && <Problem error={rest} />}
          <p>
            <label>
              <input
                type="checkbox"
                checked={form.wait}
                onChange={(event) => change({ wait: event.currentTarget.checked })}
              />{" "}
              wait until I start it
            </label>
          </p>
          <button type="submit" class="primary" disabled={!may || !ready || body === null || start.isPending}>
            {start.isPending ? "Starting …" : form.wait ? "Create" : "Start"}
          </button>
        </section>
      </form>
    </Page>
  );
}
