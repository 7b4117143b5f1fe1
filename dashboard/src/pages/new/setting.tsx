/** One hyperparameter as a field of the form: what kind of field follows from its declaration. */
import { figure } from "../../format.ts";
import { Checks } from "../../ui/actions.tsx";
import { Field } from "../../ui/basics.tsx";
import type { SettingField } from "./form.ts";

interface Props {
  of: SettingField;
  /** As typed; empty is "auto". */
  value: string;
  change: (value: string) => void;
  /** What "auto" comes to, where it is known. */
  auto: unknown;
  error: string | undefined;
}

export function Setting({ of, value, change, auto, error }: Props) {
  const known = value === "" && auto !== undefined;
  const shown = !known ? "auto" : `auto: ${typeof auto === "number" ? figure(auto) : String(auto)}`;
  if (of.kind === "list") {
    const labels: Record<string, string> = of.valueLabels;
    return (
      <fieldset>
        <legend>{of.label}</legend>
        <Checks
          of={of.values}
          chosen={value === "" ? [] : value.split(",")}
          choose={(chosen) => change(chosen.join(","))}
          name={(one) => labels[one] ?? one}
        />
      </fieldset>
    );
  }
  return (
    <Field label={of.label} hint={of.help} error={error}>
      {(control) =>
        of.kind === "choice" || of.kind === "switch"
          ? (
            <select {...control} value={value} onChange={(event) => change(event.currentTarget.value)}>
              <option value="">{shown}</option>
              {choices(of).map(([one, label]) => <option key={one} value={one}>{label}</option>)}
            </select>
          )
          : (
            <input
              {...control}
              type="number"
              min={of.min}
              max={of.max}
              step={of.kind === "integer" ? 1 : "any"}
              placeholder={shown}
              value={value}
              onInput={(event) => change(event.currentTarget.value)}
            />
          )}
    </Field>
  );
}

const choices = (of: Extract<SettingField, { kind: "choice" | "switch" }>): (readonly [string, string])[] =>
  of.kind === "switch" ? [["true", "on"], ["false", "off"]] : of.values.map((one) => [one, one] as const);
