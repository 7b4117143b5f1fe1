/** The input of one hyperparameter; its declaration determines the control. */
import { formatNumber } from "../../lib/format.ts";
import { CheckboxGroup, Field } from "../../ui/forms.tsx";
import type { SettingField } from "./form.ts";

interface Props {
  setting: SettingField;
  /** As typed; empty means "auto". */
  value: string;
  onChange: (value: string) => void;
  /** The value that "auto" resolves to, if known. */
  autoValue: unknown;
  error: string | undefined;
}

export function SettingInput(
  { setting, value, onChange, autoValue, error }: Props,
) {
  const auto = value !== "" || autoValue === undefined
    ? "auto"
    : `auto: ${typeof autoValue === "number" ? formatNumber(autoValue) : String(autoValue)}`;
  if (setting.kind === "list") {
    const labels: Record<string, string> = setting.valueLabels;
    return (
      <fieldset>
        <legend>{setting.label}</legend>
        <CheckboxGroup
          options={setting.values}
          selected={value === "" ? [] : value.split(",")}
          onChange={(selected) => onChange(selected.join(","))}
          labelOf={(option) => labels[option] ?? option}
        />
        <p class="hint">{setting.help}</p>
      </fieldset>
    );
  }
  return (
    <Field label={setting.label} hint={setting.help} error={error}>
      {(control) =>
        setting.kind === "choice" || setting.kind === "switch"
          ? (
            <select
              {...control}
              value={value}
              onChange={(event) => onChange(event.currentTarget.value)}
            >
              <option value="">{auto}</option>
              {optionsOf(setting).map(([option, label]) => (
                <option key={option} value={option}>{label}</option>
              ))}
            </select>
          )
          : (
            <input
              {...control}
              type="number"
              min={setting.min}
              max={setting.max}
              step={setting.kind === "integer" ? 1 : "any"}
              placeholder={auto}
              value={value}
              onInput={(event) => onChange(event.currentTarget.value)}
            />
          )}
    </Field>
  );
}

type SelectField = Extract<SettingField, { kind: "choice" | "switch" }>;
const optionsOf = (setting: SelectField): (readonly [string, string])[] =>
  setting.kind === "switch"
    ? [["true", "on"], ["false", "off"]]
    : setting.values.filter((option) => option !== "auto").map((option) => [option, option] as const);
