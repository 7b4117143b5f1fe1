/** A dialog to pick a row of a data file as the prompt. */
import { useQuery } from "@tanstack/preact-query";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { formatCount, pluralize } from "../../lib/format.ts";
import { href } from "../../lib/router.ts";
import type { ApiFile } from "../../lib/types.ts";
import { EmptyState, QueryBoundary } from "../../ui/feedback.tsx";
import { Field } from "../../ui/forms.tsx";
import { useDataFiles } from "../files/file_queries.ts";
import { fetchJob, jobKey } from "../jobs/job_queries.ts";
import { maxRows, type PickedRow, type PromptRow, useRows } from "./rows.ts";

interface Props {
  /** The job of the chosen model, whose files come first. */
  jobId: string | null;
  fileId: string | null;
  onFile: (id: string) => void;
  onPick: (picked: PickedRow) => void;
  onClose: () => void;
}

export function RowPicker(props: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog
      ref={dialog}
      class="rows"
      aria-labelledby={id}
      onClose={props.onClose}
    >
      <div class="page-head">
        <h2 id={id}>Pick a row</h2>
        <button type="button" onClick={() => dialog.current?.close()}>
          Close
        </button>
      </div>
      <FileRows
        {...props}
        onPick={(picked) => {
          dialog.current?.close(); // until then, the rest of the page cannot be focused
          props.onPick(picked);
        }}
      />
    </dialog>
  );
}

function FileRows({ jobId, fileId, onFile, onPick }: Props) {
  const files = useFilesWithRoles(jobId);
  return (
    <QueryBoundary query={files} what="files">
      {(files) => {
        const chosen = files.find(({ file }) => file.id === fileId) ?? files[0];
        return chosen === undefined
          ? (
            <EmptyState title="No files yet">
              <p>
                Upload a data file to send its rows to the models and compare their answers with the expected
                ones.
              </p>
              <a class="button primary" href={href(["new"])}>Upload a file</a>
            </EmptyState>
          )
          : (
            <>
              <Field
                label="File"
                hint="Models are not trained on validation rows, so these show how well a model generalizes."
              >
                {(control) => (
                  <select
                    {...control}
                    value={chosen.file.id}
                    onChange={(event) => onFile(event.currentTarget.value)}
                  >
                    {files.map(({ file, role }) => (
                      <option key={file.id} value={file.id}>
                        {role === null ? file.filename : `${role}: ${file.filename}`}
                      </option>
                    ))}
                  </select>
                )}
              </Field>
              <RowList
                key={chosen.file.id}
                file={chosen.file}
                onPick={onPick}
              />
            </>
          );
      }}
    </QueryBoundary>
  );
}

function RowList(
  { file, onPick }: { file: ApiFile; onPick: (picked: PickedRow) => void },
) {
  const rows = useRows(file);
  const [filter, setFilter] = useState("");
  return (
    <QueryBoundary query={rows} what="rows">
      {(rows) => {
        const words = filter.trim().toLowerCase();
        const shown = rows.filter((row) => words === "" || searchText(row).includes(words));
        const pick = (row: PromptRow) => onPick({ file: { id: file.id, name: file.filename }, row });
        return rows.length === 0 ? <EmptyState title="This file has no rows with a prompt" /> : (
          <>
            <div class="actions">
              <input
                type="search"
                aria-label="Search rows"
                placeholder="Search rows"
                value={filter}
                onInput={(event) => setFilter(event.currentTarget.value)}
              />
              <button
                type="button"
                disabled={shown.length === 0}
                onClick={() => {
                  const row = shown[Math.floor(Math.random() * shown.length)];
                  if (row !== undefined) pick(row);
                }}
              >
                Random row
              </button>
              <span class="quiet small" role="status">
                {words === "" ? pluralize(rows.length, "row") : `${pluralize(shown.length, "row")} found`}
                {rows.length === maxRows && words === "" &&
                  `, the first of ${total(file)}`}
              </span>
            </div>
            <ul class="plain row-list">
              {shown.map((row) => (
                <li key={row.number}>
                  <button type="button" onClick={() => pick(row)}>
                    <span class="quiet small">
                      Row {formatCount(row.number)}
                    </span>
                    <span class="one-line">{promptOf(row)}</span>
                    <span class="one-line quiet small">
                      {row.expected ?? "No expected answer"}
                    </span>
                  </button>
                </li>
              ))}
            </ul>
          </>
        );
      }}
    </QueryBoundary>
  );
}

const total = (file: ApiFile) => file.report === null ? "the file" : formatCount(file.report.rows);
/** The row's question: its last message. */
const promptOf = ({ messages }: PromptRow) => messages.at(-1)?.content ?? "";
const searchText = (row: PromptRow) => `${promptOf(row)}\n${row.expected ?? ""}`.toLowerCase();

/** The job's files first, then the project's others. */
function useFilesWithRoles(jobId: string | null) {
  const job = useQuery({
    queryKey: jobKey(jobId ?? ""),
    enabled: jobId !== null,
    queryFn: () => fetchJob(jobId ?? ""),
  });
  const files = useDataFiles();
  const roles = new Map([
    [job.data?.validation_file, "Validation file"],
    [job.data?.training_file, "Training file"],
  ]);
  const isLoaded = files.data !== undefined &&
    (jobId === null || !job.isLoading);
  const data = !isLoaded ? undefined : files.data
    .filter(({ status }) => status === "processed")
    .map((file) => ({ file, role: roles.get(file.id) ?? null }))
    .sort((a, b) => rank(a.role) - rank(b.role));
  return { ...files, data };
}

const rank = (role: string | null) => role === "Validation file" ? 0 : role === null ? 2 : 1;
