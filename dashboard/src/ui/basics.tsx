/** The small parts that every page is made of. */
import { type ComponentChildren, type JSX } from "preact";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { RefusedError } from "../../../client/mod.ts";
import { exactTime, time, words } from "../format.ts";

/** A page: its title is the document's, and takes the focus, so that a screen reader tells where it is. */
export function Page(props: { title: string; actions?: ComponentChildren; children: ComponentChildren }) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${props.title} · Tunebase`;
  }, [props.title]);
  useEffect(() => heading.current?.focus({ preventScroll: true }), []);
  return (
    <main id="main">
      <header class="page-head">
        <h1 ref={heading} tabIndex={-1}>{props.title}</h1>
        {props.actions && <div class="actions">{props.actions}</div>}
      </header>
      {props.children}
    </main>
  );
}

/** What went wrong, in the API's own words, which say what to do. */
export function Problem({ error, retry }: { error: Error; retry?: (() => unknown) | undefined }) {
  const refused = error instanceof RefusedError ? error : null;
  const text = refused === null && error instanceof TypeError
    ? "The server cannot be reached. Are you online, and is the server up?"
    : error.message;
  return (
    <div class="problem" role="alert">
      <p>{text}</p>
      {refused !== null && (
        <p class="quiet small">
          {refused.code} · request {refused.problem.request_id}
        </p>
      )}
      {retry && <button type="button" onClick={() => void retry()}>Try again</button>}
    </div>
  );
}

export const Loading = ({ what = "Loading" }: { what?: string }) => (
  <p class="loading quiet" role="status">{what} …</p>
);

export const Empty = ({ children }: { children: ComponentChildren }) => <div class="empty">{children}</div>;

interface Answer<T> {
  data: T | undefined;
  error: Error | null;
  isPaused: boolean;
  refetch: () => unknown;
}

/** Data, or why there is none. Data that is there stays when reading it again fails. */
export function Loaded<T>({ of, what, children }: {
  of: Answer<T>;
  what?: string;
  children: (data: T) => ComponentChildren;
}) {
  if (of.data !== undefined) return <>{children(of.data)}</>;
  if (of.error !== null) return <Problem error={of.error} retry={of.refetch} />;
  if (of.isPaused) {
    return <p class="empty" role="status">You are offline. This page comes when you are back.</p>;
  }
  return <Loading {...(what === undefined ? {} : { what })} />;
}

/** A time in the viewer's zone; the whole of it on hover. */
export const Time = ({ at }: { at: number | null }) =>
  at === null
    ? <span class="quiet">–</span>
    : <time dateTime={new Date(at * 1000).toISOString()} title={exactTime(at)}>{time(at)}</time>;

const tones: Record<string, string> = {
  succeeded: "good",
  processed: "good",
  delivered: "good",
  enabled: "good",
  active: "good",
  running: "busy",
  validating_files: "busy",
  uploaded: "busy",
  pending: "busy",
  queued: "busy",
  paused: "warn",
  warn: "warn",
  failed: "bad",
  error: "bad",
  dead: "bad",
  disabled: "bad",
  revoked: "bad",
};
const shown: Record<string, string> = { processed: "ready", uploaded: "being checked", dead: "gave up" };

/** A state: a word, with a mark whose colour repeats it. */
export const Status = ({ of }: { of: string }) => (
  <span class={`status ${tones[of] ?? "plain"}`}>{shown[of] ?? words(of)}</span>
);

/** A text to copy. */
export function Copy({ text, label = "Copy" }: { text: string; label?: string }) {
  const [said, say] = useState<string | null>(null);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      say("Copied");
    } catch {
      say("Select it and copy it by hand"); // no permission, or not https
    }
    setTimeout(() => say(null), 2500);
  };
  return (
    <button type="button" class="small" onClick={() => void copy()} aria-live="polite">
      {said ?? label}
    </button>
  );
}

export const Code = ({ text, label }: { text: string; label: string }) => (
  <figure class="code">
    <figcaption>
      {label} <Copy text={text} label={`Copy`} />
    </figcaption>
    <pre tabIndex={0} aria-label={label}>{text}</pre>
  </figure>
);

/** What a field's control must carry. */
export interface FieldControl {
  id: string;
  "aria-describedby": string | undefined;
  "aria-invalid": boolean;
}

export function Field(props: {
  label: string;
  hint?: ComponentChildren;
  error?: string | null | undefined;
  children: (control: FieldControl) => JSX.Element;
}) {
  const id = useId();
  const told = [props.hint ? `${id}-hint` : "", props.error ? `${id}-error` : ""].filter(Boolean).join(" ");
  return (
    <div class="field">
      <label for={id}>{props.label}</label>
      {props.children({ id, "aria-describedby": told || undefined, "aria-invalid": Boolean(props.error) })}
      {props.error && <p class="field-error" id={`${id}-error`}>{props.error}</p>}
      {props.hint && <p class="hint" id={`${id}-hint`}>{props.hint}</p>}
    </div>
  );
}

/** A table that scrolls sideways by itself where it is too wide; the keyboard can scroll it too. */
export const Table = ({ label, head, children }: {
  label: string;
  head: string[];
  children: ComponentChildren;
}) => (
  <div class="scroll" role="region" aria-label={label} tabIndex={0}>
    <table>
      <thead>
        <tr>{head.map((name) => <th scope="col" key={name}>{name}</th>)}</tr>
      </thead>
      <tbody>{children}</tbody>
    </table>
  </div>
);

/** More of a list. */
export const More = ({ of }: {
  of: { hasNextPage: boolean; isFetchingNextPage: boolean; fetchNextPage: () => unknown };
}) =>
  !of.hasNextPage
    ? null
    : (
      <button type="button" disabled={of.isFetchingNextPage} onClick={() => void of.fetchNextPage()}>
        {of.isFetchingNextPage ? "Loading …" : "Show more"}
      </button>
    );

/** Facts by name. */
export const Facts = ({ of }: { of: [string, ComponentChildren][] }) => (
  <dl class="facts">
    {of.map(([name, value]) => (
      <div key={name}>
        <dt>{name}</dt>
        <dd>{value}</dd>
      </div>
    ))}
  </dl>
);
