/** Buttons that run a mutation, with its progress, its error and an optional confirmation. */
import type { ComponentChildren } from "preact";
import { useId, useRef } from "preact/hooks";
import { ErrorMessage } from "./feedback.tsx";

export interface MutationState {
  isPending: boolean;
  error: Error | null;
  mutate: () => void;
}

/** A dialog that asks before the action runs. */
export interface Confirmation {
  /** The consequences, and whether they can be undone. */
  text: ComponentChildren;
  /** Names the action, as the dialog's heading and its button: "Delete file". */
  confirm: string;
  /** The label of the other button; default: "Cancel". */
  dismiss?: string;
}

export function ActionButton(
  { mutation, label, confirmation, danger, primary }: {
    mutation: MutationState;
    label: string;
    confirmation?: Confirmation;
    danger?: boolean;
    primary?: boolean;
  },
) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  const variant = danger ? "danger" : primary ? "primary" : "";
  return (
    <>
      <button
        type="button"
        class={variant}
        disabled={mutation.isPending}
        onClick={() => confirmation ? dialog.current?.showModal() : mutation.mutate()}
      >
        {mutation.isPending ? `${label} …` : label}
      </button>
      {confirmation && (
        <dialog ref={dialog} aria-labelledby={id} aria-describedby={`${id}-text`}>
          <h2 id={id}>{confirmation.confirm}?</h2>
          <p id={`${id}-text`}>{confirmation.text}</p>
          <div class="actions">
            <button
              type="button"
              autofocus
              onClick={() => dialog.current?.close()}
            >
              {confirmation.dismiss ?? "Cancel"}
            </button>
            <button
              type="button"
              class={variant}
              onClick={() => {
                dialog.current?.close();
                mutation.mutate();
              }}
            >
              {confirmation.confirm}
            </button>
          </div>
        </dialog>
      )}
      {mutation.error && <ErrorMessage error={mutation.error} />}
    </>
  );
}
