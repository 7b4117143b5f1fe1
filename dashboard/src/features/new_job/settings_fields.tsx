/** The settings of a new job. */
import { Field } from "../../ui/forms.tsx";
import {
  advancedSettings,
  type JobForm,
  mainSettings,
  preferenceSettings,
  type SettingField,
} from "./form.ts";
import { SettingInput } from "./setting_input.tsx";

export function SettingsFields(
  { form, change, isPreference, autoValues, errors }: {
    form: JobForm;
    change: (fields: Partial<JobForm>) => void;
    /** Whether the training file holds preference rows, which add settings of their own. */
    isPreference: boolean;
    /** The values that "auto" resolves to, as far as they are known. */
    autoValues: Record<string, unknown>;
    errors: Map<string, string>;
  },
) {
  const advanced = isPreference ? [...preferenceSettings, ...advancedSettings] : advancedSettings;
  const input = (setting: SettingField) => (
    <SettingInput
      key={setting.name}
      setting={setting}
      value={form.settings[setting.name] ?? ""}
      onChange={(value) => change({ settings: { ...form.settings, [setting.name]: value } })}
      autoValue={autoValues[setting.name]}
      error={errors.get(setting.name)}
    />
  );
  return (
    <>
      <p class="quiet">
        Empty fields use{" "}
        <strong>auto</strong>, a value that suits the model. The job records the value that was used.
      </p>
      <div class="fields">{mainSettings.map(input)}</div>
      <div class="fields">
        <Field
          label="Name"
          hint="The suffix of the fine-tuned model's name."
          error={errors.get("suffix")}
        >
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
          label="Spend cap (USD)"
          hint="The job stops when it reaches this amount."
          error={errors.get("spend_cap_usd")}
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
      <details open={advanced.some(({ name }) => errors.has(name))}>
        <summary>Advanced settings</summary>
        <div class="fields">
          {advanced.filter(({ kind }) => kind !== "list").map(input)}
          <Field
            label="Seed"
            hint="The same seed gives the same shuffling and initialization."
            error={errors.get("seed")}
          >
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
        {advanced.filter(({ kind }) => kind === "list").map(input)}
        <Field
          label="Metadata"
          hint="Labels to find the job by, one key=value per line."
          error={errors.get("metadata")}
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
            Metrics are also sent to the Weights & Biases project {form.wandb.project}.{" "}
            <button
              type="button"
              class="small"
              onClick={() => change({ wandb: null })}
            >
              Remove
            </button>
          </p>
        )}
      </details>
    </>
  );
}
