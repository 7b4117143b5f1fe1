/** Forms and their fields. */
import type { ComponentChildren, JSX } from "preact";
import { useId } from "preact/hooks";
import type { MutationState } from "./action_button.tsx";
import { CopyButton } from "./display.tsx";
import { ErrorMessage } from "./feedback.tsx";

/** A form whose submit button runs a mutation. With a title, it is a card of its own. */
export const Form = (
  { mutation, title, submit, primary, ready = true, children }: {
    mutation: MutationState;
    title?: string;
    /** The submit button's label. */
    submit: string;
    primary?: boolean;
    ready?: boolean;
    children: ComponentChildren;
  },
) => (
  <form
    class={title === undefined ? "" : "sheet"}
    onSubmit={(event) => {
      event.preventDefault();
      mutation.mutate();
    }}
  >
    {title !== undefined && <h2>{title}</h2>}
    {children}
    {mutation.error && <ErrorMessage error={mutation.error} />}
    <button
      type="submit"
      class={primary ? "primary" : ""}
      disabled={mutation.isPending || !ready}
    >
      {submit}
    </button>
  </form>
);

/** The attributes that connect a control with its label, hint and error. */
export interface FieldControl {
  id: string;
  "aria-describedby": string | undefined;
  "aria-invalid": boolean;
}

export function Field({ label, hint, error, children }: {
  label: string;
  hint?: ComponentChildren;
  error?: string | null | undefined;
  children: (control: FieldControl) => JSX.Element;
}) {
  const id = useId();
  const describedBy = [hint ? `${id}-hint` : "", error ? `${id}-error` : ""]
    .filter(Boolean).join(" ");
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children({
        id,
        "aria-describedby": describedBy || undefined,
        "aria-invalid": Boolean(error),
      })}
      {error && <p class="field-error" id={`${id}-error`}>{error}</p>}
      {hint && <p class="hint" id={`${id}-hint`}>{hint}</p>}
    </div>
  );
}

/** Checkboxes to select any of several options. */
export function CheckboxGroup<T extends string>(
  { options, selected, onChange, labelOf }: {
    options: readonly T[];
    selected: readonly T[];
    onChange: (selected: T[]) => void;
    labelOf: (option: T) => string;
  },
) {
  return (
    <div class="checks">
      {options.map((option) => (
        <label key={option}>
          <input
            type="checkbox"
            checked={selected.includes(option)}
            onChange={({ currentTarget: { checked } }) =>
              onChange(
                options.filter((other) => other === option ? checked : selected.includes(other)),
              )}
          />{" "}
          {labelOf(option)}
        </label>
      ))}
    </div>
  );
}

/** A secret that is shown once. */
export const SecretNotice = ({ title, value, onDone }: {
  title: string;
  value: string;
  onDone: () => void;
}) => (
  <div class="notice" role="status">
    <p>
      <strong>{title}</strong> Copy it now: it won't be shown again.
    </p>
    <p class="secret">
      <code>{value}</code> <CopyButton text={value} />
    </p>
    <button type="button" onClick={onDone}>Done</button>
  </div>
);
