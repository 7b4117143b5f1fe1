/** The data to train on: a file that is dropped here, or one that was uploaded before. */
import { useQuery, useQueryClient } from "@tanstack/preact-query";
import { useId, useRef, useState } from "preact/hooks";
import { unwrap } from "../../../../client/mod.ts";
import { fileKey, useFile } from "../../data.ts";
import { bytes, short, time } from "../../format.ts";
import { href } from "../../router.ts";
import { use } from "../../services.ts";
import { BrokenFileError, type Progress, upload } from "../../upload.ts";
import { Field, Problem } from "../../ui/basics.tsx";
import { Findings } from "../../ui/findings.tsx";

export function DataField({ label, hint, value, choose }: {
  label: string;
  hint: string;
  value: string | null;
  choose: (id: string | null) => void;
}) {
  const cache = useQueryClient();
  const [over, setOver] = useState(false);
  const [name, setName] = useState<string | null>(null);
  const [progress, setProgress] = useState<Progress | null>(null);
  const [error, setError] = useState<Error | null>(null);
  const running = useRef<AbortController | null>(null);
  const id = useId();
  const files = useQuery({
    queryKey: ["files", "ready"],
    queryFn: async () =>
      unwrap(await use().api.GET("/files", { params: { query: { purpose: "fine-tune", limit: 100 } } })).data,
  });
  const { data: chosen } = useFile(value);

  const take = async (file: File | undefined) => {
    if (file === undefined) return;
    running.current?.abort();
    const stop = new AbortController();
    running.current = stop;
    setError(null);
    setName(file.name);
    choose(null);
    try {
      const made = await upload(file, setProgress, stop.signal);
      cache.setQueryData(fileKey(made.id), made);
      void cache.invalidateQueries({ queryKey: ["files"] });
      choose(made.id);
    } catch (cause) {
      if (!stop.signal.aborted) setError(cause instanceof Error ? cause : new Error(String(cause)));
    } finally {
      if (running.current === stop) setProgress(null);
    }
  };
  const usable = files.data?.filter(({ status }) => status !== "error") ?? [];
  return (
    <div class="field">
      <label
        class={over ? "drop over" : "drop"}
        onDragOver={(event) => {
          event.preventDefault();
          setOver(true);
        }}
        onDragLeave={() => setOver(false)}
        onDrop={(event) => {
          event.preventDefault();
          setOver(false);
          void take(event.dataTransfer?.files[0]);
        }}
      >
        <input
          type="file"
          accept=".jsonl,.json,.csv,.tsv,.gz,application/jsonl,text/csv"
          aria-describedby={`${id}-hint`}
          onChange={(event) => {
            void take(event.currentTarget.files?.[0]);
            event.currentTarget.value = ""; // the same file again, once it is mended, is a change too
          }}
        />
        <strong>{label}</strong>
        <br />
        Drop a file here, or choose one
        <span class="hint" id={`${id}-hint`}>
          <br />
          {hint}
        </span>
      </label>
      {progress && (
        <div role="status">
          <progress max={1} value={progress.share} aria-label={`${progress.doing} ${name}`} />
          <span class="small">
            {progress.doing === "checking" ? "Checking" : "Uploading"} {name}:{" "}
            {Math.round(progress.share * 100)} %
          </span>{" "}
          <button
            type="button"
            class="small"
            onClick={() => {
              running.current?.abort();
              setProgress(null);
            }}
          >
            Stop
          </button>
        </div>
      )}
      {error instanceof BrokenFileError
        ? (
          <div role="alert">
            <p class="problem">
              <strong>{name}</strong> was not uploaded: {error.message} Mend them and drop the file again.
            </p>
            <Findings label={`What is wrong with ${name}`} of={error.findings} />
          </div>
        )
        : error && <Problem error={error} />}
      {usable.length > 0 && (
        <Field label={`Or one that was uploaded before, as ${label.toLowerCase()}`}>
          {(control) => (
            <select
              {...control}
              value={value ?? ""}
              onChange={(event) => choose(event.currentTarget.value || null)}
            >
              <option value="">none</option>
              {usable.map(({ id, filename, created_at, bytes: size }) => (
                <option key={id} value={id}>{filename} ({bytes(size)}, {time(created_at)})</option>
              ))}
            </select>
          )}
        </Field>
      )}
      {chosen && (
        <div class={chosen.status === "error" ? "problem" : "notice"} role="status">
          <a href={href(["files", chosen.id])}>{chosen.filename}</a>{" "}
          {chosen.status === "uploaded" && "is being checked …"}
          {chosen.status === "error" && `cannot be trained on. ${chosen.status_details ?? ""}`}
          {chosen.status === "processed" && chosen.report !== null && (
            <>
              {short(chosen.report.rows)} rows, about {short(chosen.report.tokens.total)} tokens
              {chosen.report.duplicates.rows > 0 &&
                `, ${short(chosen.report.duplicates.rows)} copies of other rows`}
            </>
          )}
          {(chosen.report?.errors?.length ?? 0) > 0 && (
            <Findings label={`What is wrong with ${chosen.filename}`} of={chosen.report?.errors ?? []} />
          )}
          {(chosen.report?.warnings.length ?? 0) > 0 && (
            <details>
              <summary>{chosen.report?.warnings.length} warnings</summary>
              <Findings label={`Warnings about ${chosen.filename}`} of={chosen.report?.warnings ?? []} />
            </details>
          )}
        </div>
      )}
    </div>
  );
}
