/** The settings of a new job. */
import { maxHubRepositoryLength } from "../../../../supabase/functions/_shared/contracts/hub_repository.ts";
import { Field } from "../../ui/forms.tsx";
import {
  advancedSettings,
  hubRepositoryLabel,
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
    /** Whether the training file has preference rows, which add settings. */
    isPreference: boolean;
    /** The values that "auto" resolves to, if known. */
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
      <details
        open={errors.has("repo") || form.huggingface !== null ||
          advanced.some(({ name }) => errors.has(name))}
      >
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
        <WandbFields wandb={form.wandb} onChange={(wandb) => change({ wandb })} />
        <HubFields
          hub={form.huggingface}
          error={errors.get("repo")}
          onChange={(huggingface) => change({ huggingface })}
        />
      </details>
    </>
  );
}

const noWandb = { project: "", entity: null, name: null, tags: [] };

/** Only the project is required; without one, nothing is sent. */
function WandbFields({ wandb, onChange }: {
  wandb: JobForm["wandb"];
  onChange: (wandb: JobForm["wandb"]) => void;
}) {
  const update = (fields: Partial<NonNullable<JobForm["wandb"]>>) => {
    const updated = { ...noWandb, ...wandb, ...fields };
    onChange(updated.project.trim() === "" ? null : updated);
  };
  const text = (label: string, hint: string, value: string, onInput: (value: string) => void) => (
    <Field label={label} hint={hint}>
      {(control) => (
        <input
          {...control}
          maxLength={100}
          value={value}
          onInput={(event) => onInput(event.currentTarget.value)}
        />
      )}
    </Field>
  );
  return (
    <div class="fields">
      {text(
        "Weights & Biases project",
        "Metrics are also sent there, if the operator of this installation allows it.",
        wandb?.project ?? "",
        (project) => update({ project }),
      )}
      {wandb !== null && text(
        "Weights & Biases entity",
        "Your team or user. Empty: the key's default.",
        wandb.entity ?? "",
        (entity) => update({ entity: entity === "" ? null : entity }),
      )}
      {wandb !== null && text(
        "Weights & Biases run",
        "The run's name. Empty: the job's.",
        wandb.name ?? "",
        (name) => update({ name: name === "" ? null : name }),
      )}
    </div>
  );
}

/** Without a repository, nothing is pushed. */
function HubFields({ hub, error, onChange }: {
  hub: JobForm["huggingface"];
  error: string | undefined;
  onChange: (hub: JobForm["huggingface"]) => void;
}) {
  return (
    <div class="fields">
      <Field
        label={hubRepositoryLabel}
        hint="Pushes the adapter to this repository, such as acme/support-bot, if the operator allows it."
        error={error}
      >
        {(control) => (
          <input
            {...control}
            maxLength={maxHubRepositoryLength}
            value={hub?.repo ?? ""}
            onInput={({ currentTarget }) => {
              const repo = currentTarget.value.trim();
              onChange(repo === "" ? null : { repo, private: hub?.private ?? true });
            }}
          />
        )}
      </Field>
      {hub !== null && (
        <Field
          label="Visibility"
          hint="Visibility of a new repository. Private never pushes to a public one."
        >
          {(control) => (
            <select
              {...control}
              value={hub.private ? "private" : "public"}
              onChange={(event) => onChange({ ...hub, private: event.currentTarget.value === "private" })}
            >
              <option value="private">Private</option>
              <option value="public">Public</option>
            </select>
          )}
        </Field>
      )}
    </div>
  );
}
