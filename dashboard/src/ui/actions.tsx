/** Buttons that do something, with what comes of it. */
import type { ComponentChildren } from "preact";
import { useId, useRef } from "preact/hooks";
import { Copy, Problem } from "./basics.tsx";

interface Act {
  isPending: boolean;
  error: Error | null;
  mutate: () => void;
}

/** Does it at a click; asks first where `ask` says what would happen. */
export function Action({ of, label, ask, danger, primary }: {
  of: Act;
  label: string;
  ask?: ComponentChildren;
  danger?: boolean;
  primary?: boolean;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  const look = danger ? "danger" : primary ? "primary" : "";
  return (
    <>
      <button
        type="button"
        class={look}
        disabled={of.isPending}
        onClick={() => ask ? dialog.current?.showModal() : of.mutate()}
      >
        {of.isPending ? `${label} …` : label}
      </button>
      {ask && (
        <dialog ref={dialog} aria-labelledby={id}>
          <p id={id}>{ask}</p>
          <div class="actions">
            <button type="button" autofocus onClick={() => dialog.current?.close()}>No, leave it</button>
            <button
              type="button"
              class={look}
              onClick={() => {
                dialog.current?.close();
                of.mutate();
              }}
            >
              {label}
            </button>
          </div>
        </dialog>
      )}
      {of.error && <Problem error={of.error} />}
    </>
  );
}

/** A form with one button, which does it; on a sheet of its own where it has a title. */
export const Form = ({ of, title, label, primary, ready = true, children }: {
  of: Act;
  title?: string;
  label: string;
  primary?: boolean;
  ready?: boolean;
  children: ComponentChildren;
}) => (
  <form
    class={title === undefined ? "" : "sheet"}
    onSubmit={(event) => {
      event.preventDefault();
      of.mutate();
    }}
  >
    {title !== undefined && <h2>{title}</h2>}
    {children}
    {of.error && <Problem error={of.error} />}
    <button type="submit" class={primary ? "primary" : ""} disabled={of.isPending || !ready}>{label}</button>
  </form>
);

/** Some of several. */
export function Checks<T extends string>({ of, chosen, choose, name }: {
  of: readonly T[];
  chosen: readonly T[];
  choose: (chosen: T[]) => void;
  name: (one: T) => string;
}) {
  return (
    <div class="checks">
      {of.map((one) => (
        <label key={one}>
          <input
            type="checkbox"
            checked={chosen.includes(one)}
            onChange={({ currentTarget: { checked } }) =>
              choose(of.filter((other) => other === one ? checked : chosen.includes(other)))}
          />{" "}
          {name(one)}
        </label>
      ))}
    </div>
  );
}

/** What is shown once and never again. */
export const Secret = ({ what, value, done }: { what: string; value: string; done: () => void }) => (
  <div class="notice" role="status">
    <p>
      <strong>{what}</strong> It is shown now and never again: copy it.
    </p>
    <p class="secret">
      <code>{value}</code> <Copy text={value} />
    </p>
    <button type="button" onClick={done}>I have it</button>
  </div>
);
