/** The form of a new job. It survives a reload and a visit to another page, in this tab. */
import { useState } from "preact/hooks";
import { readSession, writeSession } from "../../lib/session_store.ts";
import { type JobForm, readForm } from "./form.ts";

interface Draft {
  /** The initial URL parameters. A link with other parameters starts a new form. */
  query: string;
  form: JobForm;
}

const storageName = "new-job";

export interface JobFormState {
  form: JobForm;
  change: (fields: Partial<JobForm>) => void;
  /** Whether the form has settings of an earlier visit. */
  isRestored: boolean;
  reset: () => void;
  /** Call once the job exists: the next visit then starts with an empty form. */
  forget: () => void;
}

export function useJobForm(query: URLSearchParams): JobFormState {
  const key = query.toString();
  const [draft, setDraft] = useState(() => {
    const stored = readSession(storageName) as Draft | null;
    return stored?.query === key ? { ...readForm(query), ...stored.form } : null;
  });
  const [form, setForm] = useState<JobForm>(() => draft ?? readForm(query));
  const store = (form: JobForm | null) =>
    writeSession(storageName, form === null ? null : { query: key, form } satisfies Draft);
  return {
    form,
    change: (fields) =>
      setForm((before) => {
        const after = { ...before, ...fields };
        store(after);
        return after;
      }),
    isRestored: draft !== null && !isUntouched(draft, query),
    reset: () => {
      store(null);
      setDraft(null);
      setForm(readForm(query));
    },
    forget: () => store(null),
  };
}

/** Whether the form has only what the URL and the list of models set. */
const isUntouched = (form: JobForm, query: URLSearchParams): boolean =>
  JSON.stringify({ ...form, model: "" }) === JSON.stringify({ ...readForm(query), model: "" });
