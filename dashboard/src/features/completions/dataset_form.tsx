/** Creates a training file from the completions that match the page's filters. */
import { useQueryClient } from "@tanstack/preact-query";
import { useState } from "preact/hooks";
import { unwrap } from "../../../../client/mod.ts";
import { useIdempotencyKey } from "../../lib/idempotency.ts";
import { useApiMutation, usePermission } from "../../lib/queries.ts";
import { navigate } from "../../lib/router.ts";
import { getServices } from "../../lib/services.ts";
import { Field, Form } from "../../ui/forms.tsx";
import { fileKey } from "../files/file_queries.ts";
import { type CompletionFilter, parseMetadata } from "./completion_queries.ts";

/** In seconds. Days are in the user's time zone, where a day with a clock change does not have 24 hours. */
function startOfDay(date: string, daysLater = 0): number {
  const start = new Date(`${date}T00:00`);
  start.setDate(start.getDate() + daysLater);
  return start.getTime() / 1000;
}

export function DatasetForm({ filter }: { filter: CompletionFilter }) {
  const canCreate = usePermission("files:write");
  const cache = useQueryClient();
  const [filename, setFilename] = useState("completions.jsonl");
  const [from, setFrom] = useState("");
  const [to, setTo] = useState("");
  const keyOf = useIdempotencyKey();
  const create = useApiMutation(async () => {
    const metadata = parseMetadata(filter.metadata) ?? {};
    const body = {
      filename,
      ...(filter.model === "" ? {} : { model: filter.model }),
      ...(Object.keys(metadata).length === 0 ? {} : { metadata }),
      ...(from === "" ? {} : { after: startOfDay(from) }),
      ...(to === "" ? {} : { before: startOfDay(to, 1) }),
    };
    const file = unwrap(
      await getServices().api.POST("/files/from_completions", {
        body,
        params: { header: { "Idempotency-Key": keyOf(body) } },
      }),
    );
    cache.setQueryData(fileKey(file.id), file);
    navigate(["files", file.id]);
  }, [["files"]]);
  if (!canCreate) return null;
  const isFiltered = filter.model !== "" || filter.metadata !== "";
  return (
    <details>
      <summary>Create a dataset file</summary>
      <Form mutation={create} submit="Create dataset file" primary>
        <p class="quiet">
          {isFiltered ? "The completions that match the filters above" : "All completions"}{" "}
          become rows of a training file: the newest 10,000, up to 16 MiB. Truncated answers are omitted.
        </p>
        <div class="fields">
          <Field label="File name">
            {(control) => (
              <input
                {...control}
                required
                maxLength={255}
                value={filename}
                onInput={(event) => setFilename(event.currentTarget.value)}
              />
            )}
          </Field>
          <Field label="From" hint="Optional">
            {(control) => (
              <input
                {...control}
                type="date"
                max={to}
                value={from}
                onInput={(event) => setFrom(event.currentTarget.value)}
              />
            )}
          </Field>
          <Field label="Through" hint="Optional">
            {(control) => (
              <input
                {...control}
                type="date"
                min={from}
                value={to}
                onInput={(event) => setTo(event.currentTarget.value)}
              />
            )}
          </Field>
        </div>
      </Form>
    </details>
  );
}
