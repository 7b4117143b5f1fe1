/** Rows that two data files share. The server compares the hashes that validation stored; no file is downloaded. */
import { useQuery } from "@tanstack/preact-query";
import { useState } from "preact/hooks";
import { unwrap } from "../../../../client/mod.ts";
import { formatBytes, formatCount, formatTime } from "../../lib/format.ts";
import { getServices } from "../../lib/services.ts";
import type { ApiFile } from "../../lib/types.ts";
import { QueryBoundary } from "../../ui/feedback.tsx";
import { Field } from "../../ui/forms.tsx";
import { useDataFiles, useFile } from "./file_queries.ts";
import { describeOverlap } from "./describe_overlap.ts";

export const useOverlap = (id: string | null, otherId: string | null) =>
  useQuery({
    queryKey: ["overlap", id, otherId],
    enabled: id !== null && otherId !== null,
    staleTime: Infinity, // a validated file does not change
    queryFn: async () =>
      unwrap(
        await getServices().api.GET("/files/{id}/overlap/{other_id}", {
          params: { path: { id: id ?? "", other_id: otherId ?? "" } },
        }),
      ),
  });

/** Chooses another data file and shows what this one shares with it. */
export function CompareFiles({ file }: { file: ApiFile }) {
  const files = useDataFiles();
  const [otherId, setOtherId] = useState<string | null>(null);
  const others = files.data?.filter(({ id, status }) => id !== file.id && status === "processed") ?? [];
  const other = others.find(({ id }) => id === otherId);
  const overlap = useOverlap(file.id, other?.id ?? null);
  return (
    <section aria-labelledby="overlap">
      <h2 id="overlap">Overlap with another file</h2>
      <p class="quiet">
        If the model trains on validation rows, its validation loss is too optimistic.
      </p>
      <Field label="Compare with">
        {(control) => (
          <select
            {...control}
            value={otherId ?? ""}
            disabled={others.length === 0}
            onChange={(event) => setOtherId(event.currentTarget.value || null)}
          >
            <option value="">
              {others.length === 0 ? "No other data files" : "Choose a file"}
            </option>
            {others.map(({ id, filename, bytes, created_at }) => (
              <option key={id} value={id}>
                {filename} ({formatBytes(bytes)}, {formatTime(created_at)})
              </option>
            ))}
          </select>
        )}
      </Field>
      {other !== undefined && (
        <QueryBoundary query={overlap} what="the comparison">
          {(found) => (
            <p role="status" class={found.rows > 0 ? "problem" : "notice"}>
              {describeOverlap(found, file.filename, other.filename)}
            </p>
          )}
        </QueryBoundary>
      )}
    </section>
  );
}

/** Warns before a fine-tune if it would train on validation rows. */
export function OverlapWarning(
  { trainingFile, validationFile }: {
    trainingFile: string | null;
    validationFile: string | null;
  },
) {
  const training = useFile(trainingFile);
  const validation = useFile(validationFile);
  const isReady = training.data?.status === "processed" &&
    validation.data?.status === "processed";
  const { data } = useOverlap(
    isReady ? validationFile : null,
    isReady ? trainingFile : null,
  );
  if (data === undefined || data.rows === 0) return null;
  return (
    <div class="problem" role="alert">
      <p>
        {data.exact ? "" : "About "}
        {formatCount(data.rows)} of {formatCount(data.distinct_rows)}{" "}
        distinct validation rows are also in the training data, so the validation loss will be too optimistic.
      </p>
      <p>
        Remove these rows from one of the files.
      </p>
    </div>
  );
}
