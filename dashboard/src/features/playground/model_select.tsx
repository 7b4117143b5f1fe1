/** Chooses a model and, for a fine-tuned one, the checkpoint. */
import { formatCount, formatNumber } from "../../lib/format.ts";
import { Field } from "../../ui/forms.tsx";
import { findModel, type ModelList, useCheckpoints } from "./models.ts";

export function ModelSelect(
  { label, models, value, onChange, optional = false }: {
    label: string;
    models: ModelList;
    value: string | null;
    onChange: (id: string | null) => void;
    /** Whether "None" can be chosen. */
    optional?: boolean;
  },
) {
  const chosen = value === null ? null : findModel(models, value);
  const tuned = models.fineTuned.find(({ job_id }) => job_id === chosen?.jobId) ?? null;
  // A job without a model, or a model of another project, is an option of its own.
  const other = value !== null && tuned === null && chosen?.kind !== "base" ? value : null;
  const option = (id: string) => (
    <option key={id} value={id}>
      {(findModel(models, id)?.unavailable ?? null) === null ? id : `${id} (not available)`}
    </option>
  );
  return (
    <div>
      <Field label={label}>
        {(control) => (
          <select
            {...control}
            value={other ?? tuned?.id ?? value ?? ""}
            onChange={(event) => onChange(event.currentTarget.value || null)}
          >
            {optional && <option value="">None</option>}
            {other !== null && <option value={other}>{other}</option>}
            {models.fineTuned.length > 0 && (
              <optgroup label="Fine-tuned models">
                {models.fineTuned.map(({ id }) => option(id))}
              </optgroup>
            )}
            <optgroup label="Base models">
              {models.base.map(({ id }) => option(id))}
            </optgroup>
          </select>
        )}
      </Field>
      {tuned !== null && value !== null && (
        <CheckpointSelect
          label={`Checkpoint of ${label.toLowerCase()}`}
          model={tuned}
          value={value}
          onChange={onChange}
        />
      )}
    </div>
  );
}

function CheckpointSelect({ label, model, value, onChange }: {
  label: string;
  model: ModelList["fineTuned"][number];
  value: string;
  onChange: (id: string) => void;
}) {
  const checkpoints = useCheckpoints(model.job_id);
  const list = checkpoints.data ?? [];
  const isListed = value === model.id ||
    list.some(({ fine_tuned_model_checkpoint }) => fine_tuned_model_checkpoint === value);
  if (list.length === 0 && isListed) return null;
  return (
    <div class="field">
      <select
        aria-label={label}
        value={value}
        onChange={(event) => onChange(event.currentTarget.value)}
      >
        <option value={model.id}>Final model</option>
        {!isListed && <option value={value}>{value}</option>}
        {list.map(({ fine_tuned_model_checkpoint, step_number, metrics }) => (
          <option
            key={fine_tuned_model_checkpoint}
            value={fine_tuned_model_checkpoint}
          >
            Checkpoint of step {formatCount(step_number)}
            {metrics.valid_loss === undefined ? "" : `, validation loss ${formatNumber(metrics.valid_loss)}`}
          </option>
        ))}
      </select>
    </div>
  );
}
