/** Chooses a data file: drop or select a local one to upload, or pick an uploaded one. */
import { useQueryClient } from "@tanstack/preact-query";
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { formatBytes, formatTime, pluralize } from "../../lib/format.ts";
import { href } from "../../lib/router.ts";
import type { ApiFile } from "../../lib/types.ts";
import { ErrorMessage } from "../../ui/feedback.tsx";
import { Field } from "../../ui/forms.tsx";
import { IssueTable } from "../../ui/issue_table.tsx";
import { fileKey, useDataFiles, useFile } from "../files/file_queries.ts";
import { InvalidFileError, uploadFile, type UploadProgress } from "../files/upload.ts";

const sampleUrl = new URL("../../../../examples/support-train.jsonl", import.meta.url).href;
const sampleName = "support-train.jsonl";
async function fetchSample(): Promise<File> {
  const response = await fetch(sampleUrl);
  if (!response.ok) throw new Error(`Could not load the sample data (HTTP ${response.status}).`);
  return new File([await response.blob()], sampleName);
}

interface Props {
  label: string;
  hint: string;
  /** The ID of the chosen file. */
  value: string | null;
  onChange: (id: string | null) => void;
}

export function DataField({ label, hint, value, onChange }: Props) {
  const upload = useUpload(onChange);
  const files = useDataFiles();
  const { data: chosen } = useFile(value);
  const usable = files.data?.filter(({ status }) => status !== "error") ?? [];
  return (
    <div class="field">
      <DropZone label={label} hint={hint} onFile={upload.start} />
      {upload.progress && (
        <UploadStatus
          name={upload.name}
          progress={upload.progress}
          onStop={upload.stop}
        />
      )}
      {upload.error && <UploadError name={upload.name} error={upload.error} />}
      {files.data?.length === 0 && upload.progress === null && value === null && (
        <p class="quiet small">
          No data yet?{" "}
          <button type="button" class="small" onClick={() => void upload.startWith(fetchSample)}>
            Use sample data
          </button>{" "}
          Support messages and their triage as JSON. <a href={sampleUrl} download={sampleName}>Download it</a>
        </p>
      )}
      {usable.length > 0 && (
        <Field label={`Or choose an uploaded file as ${label.toLowerCase()}`}>
          {(control) => (
            <select
              {...control}
              value={value ?? ""}
              onChange={(event) => onChange(event.currentTarget.value || null)}
            >
              <option value="">None</option>
              {usable.map(({ id, filename, created_at, bytes }) => (
                <option key={id} value={id}>
                  {filename} ({formatBytes(bytes)}, {formatTime(created_at)})
                </option>
              ))}
            </select>
          )}
        </Field>
      )}
      {chosen && <ChosenFile file={chosen} />}
    </div>
  );
}

/** Uploads one file at a time; choosing another one aborts the current upload. */
function useUpload(onChange: (id: string | null) => void) {
  const cache = useQueryClient();
  const [name, setName] = useState("");
  const [progress, setProgress] = useState<UploadProgress | null>(null);
  const [error, setError] = useState<Error | null>(null);
  const current = useRef<AbortController | null>(null);
  const isBusy = progress !== null;
  useLeaveWarning(isBusy);
  useEffect(() => () => current.current?.abort(), []);
  const start = async (file: File) => {
    current.current?.abort();
    const controller = new AbortController();
    current.current = controller;
    setError(null);
    setName(file.name);
    onChange(null);
    try {
      const uploaded = await uploadFile(file, setProgress, controller.signal);
      cache.setQueryData(fileKey(uploaded.id), uploaded);
      void cache.invalidateQueries({ queryKey: ["files"] });
      onChange(uploaded.id);
    } catch (cause) {
      if (!controller.signal.aborted) {
        setError(cause instanceof Error ? cause : new Error(String(cause)));
      }
    } finally {
      if (current.current === controller) setProgress(null);
    }
  };
  const stop = () => {
    current.current?.abort();
    setProgress(null);
  };
  const startWith = async (fetchFile: () => Promise<File>) => {
    try {
      await start(await fetchFile());
    } catch (cause) {
      setError(cause instanceof Error ? cause : new Error(String(cause)));
    }
  };
  return { name, progress, error, start, startWith, stop };
}

/** Asks before a link or a reload stops an upload. */
function useLeaveWarning(isBusy: boolean) {
  useEffect(() => {
    if (!isBusy) return;
    const warn = (event: Event) => event.preventDefault();
    const ask = (event: MouseEvent) => {
      const link = event.target instanceof Element ? event.target.closest('a[href^="#"]') : null;
      if (link !== null && !confirm("The upload is not complete. Leave this page and stop it?")) {
        event.preventDefault();
        event.stopPropagation();
      }
    };
    addEventListener("beforeunload", warn);
    document.addEventListener("click", ask, true);
    return () => {
      removeEventListener("beforeunload", warn);
      document.removeEventListener("click", ask, true);
    };
  }, [isBusy]);
}

function DropZone({ label, hint, onFile }: {
  label: string;
  hint: string;
  onFile: (file: File) => Promise<void>;
}) {
  const [isOver, setIsOver] = useState(false);
  const id = useId();
  const handleFile = (file: File | undefined) => {
    if (file !== undefined) void onFile(file);
  };
  return (
    <label
      class={isOver ? "drop over" : "drop"}
      onDragOver={(event) => {
        event.preventDefault();
        setIsOver(true);
      }}
      onDragLeave={() => setIsOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setIsOver(false);
        handleFile(event.dataTransfer?.files[0]);
      }}
    >
      <input
        type="file"
        accept=".jsonl,.json,.csv,.tsv,.gz,application/jsonl,text/csv"
        aria-describedby={`${id}-hint`}
        onChange={(event) => {
          handleFile(event.currentTarget.files?.[0]);
          event.currentTarget.value = ""; // so that choosing the same file again, once fixed, is a change
        }}
      />
      <strong>{label}</strong>
      <br />
      Drop a file here, or click to choose one
      <span class="hint" id={`${id}-hint`}>
        <br />
        {hint}
      </span>
    </label>
  );
}

const UploadStatus = ({ name, progress, onStop }: {
  name: string;
  progress: UploadProgress;
  onStop: () => void;
}) => (
  <div role="status">
    <progress
      max={1}
      value={progress.fraction}
      aria-label={`${progress.phase} ${name}`}
    />
    <span class="small">
      {progress.phase === "validating" ? "Validating" : "Uploading"} {name}:{" "}
      {Math.round(progress.fraction * 100)}%
    </span>{" "}
    <button type="button" class="small" onClick={onStop}>Stop</button>
  </div>
);

const UploadError = ({ name, error }: { name: string; error: Error }) =>
  error instanceof InvalidFileError
    ? (
      <div role="alert">
        <p class="problem">
          <strong>{name}</strong> was not uploaded. {error.message} Fix the file and drop it again.
        </p>
        <IssueTable label={`Errors in ${name}`} issues={error.issues} />
      </div>
    )
    : <ErrorMessage error={error} />;

function ChosenFile({ file }: { file: ApiFile }) {
  const { id, filename, status, status_details, report } = file;
  const errors = report?.errors ?? [];
  const warnings = report?.warnings ?? [];
  return (
    <div class={status === "error" ? "problem" : "notice"} role="status">
      <a href={href(["files", id])}>{filename}</a> {status === "uploaded" && "is being validated …"}
      {status === "error" &&
        `is not a valid training file. ${status_details ?? ""}`}
      {status === "processed" && report !== null && (
        <>
          {pluralize(report.rows, "row")}, about {pluralize(report.tokens.total, "token")}
          {report.duplicates.rows > 0 &&
            `, ${pluralize(report.duplicates.rows, "duplicate row")}`}
        </>
      )}
      {errors.length > 0 && <IssueTable label={`Errors in ${filename}`} issues={errors} />}
      {warnings.length > 0 && (
        <details>
          <summary>{pluralize(warnings.length, "warning")}</summary>
          <IssueTable label={`Warnings about ${filename}`} issues={warnings} />
        </details>
      )}
    </div>
  );
}
