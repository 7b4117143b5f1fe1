/** Creates an evaluation: the models, the file with the expected answers, sampling settings and graders. */
import { useState } from "preact/hooks";
import { type Schemas, unwrap } from "../../../../client/mod.ts";
import { pluralize } from "../../lib/format.ts";
import { useIdempotencyKey } from "../../lib/idempotency.ts";
import { useApiMutation, useModels, usePermission } from "../../lib/queries.ts";
import { href, navigate, type PageProps } from "../../lib/router.ts";
import { getServices } from "../../lib/services.ts";
import { ErrorMessage, QueryBoundary } from "../../ui/feedback.tsx";
import { Field } from "../../ui/forms.tsx";
import { Page } from "../../ui/page.tsx";
import { useFile } from "../files/file_queries.ts";
import { DataField } from "../new_job/data_field.tsx";
import { ModelSelect } from "../playground/model_select.tsx";
import { defaultModel, findModel, type ModelList } from "../playground/models.ts";
import { type GraderDraft, GradersField, toGrader } from "./graders_field.tsx";
import { TrainedRows } from "./trained_rows.tsx";

const maxModels = 4;
const defaults = { rows: "200", maxTokens: "512", temperature: "0" };

export function NewEvaluationPage({ route }: PageProps) {
  const models = useModels();
  return (
    <Page title="New evaluation">
      <p class="quiet">
        Each model answers the questions in a file. Compare its answers with the expected ones and with the
        other models'.
      </p>
      <QueryBoundary query={models} what="models">
        {(list) => (
          <EvaluationForm
            key={route.query.toString()}
            models={list}
            query={route.query}
          />
        )}
      </QueryBoundary>
    </Page>
  );
}

/** The models named in the URL. A fine-tuned model alone is compared with its base. */
function readModels(
  models: ModelList,
  query: URLSearchParams,
): (string | null)[] {
  const first = query.get("model") ?? defaultModel(models);
  const found = first === null ? null : findModel(models, first);
  const base = found === null || found.kind === "base" ? null : found.base;
  return [first, query.get("compare") ?? base];
}

function EvaluationForm(
  { models, query }: { models: ModelList; query: URLSearchParams },
) {
  const canCreate = usePermission("inference");
  const [chosen, setChosen] = useState(() => readModels(models, query));
  const [file, setFile] = useState(query.get("file"));
  const [graders, setGraders] = useState<GraderDraft[]>([]);
  const [name, setName] = useState("");
  const [rows, setRows] = useState(defaults.rows);
  const [maxTokens, setMaxTokens] = useState(defaults.maxTokens);
  const [temperature, setTemperature] = useState(defaults.temperature);
  const keyOf = useIdempotencyKey();
  const { data: data } = useFile(file);
  const ids = [...new Set(chosen.filter((id) => id !== null))];
  const unavailable = ids.flatMap((id) => {
    const why = findModel(models, id)?.unavailable ?? null;
    return why === null ? [] : [{ id, why }];
  });
  const trainedBy = ids.map((id) => findModel(models, id)?.jobId ?? null).find((id) => id !== null) ?? null;
  const create = useApiMutation(async () => {
    if (file === null) throw new Error("Choose a file first.");
    const body = {
      models: ids,
      file,
      max_rows: Number(rows),
      max_completion_tokens: Number(maxTokens),
      temperature: Number(temperature),
      ...(graders.length === 0 ? {} : { graders: graders.map(toGrader) }),
      ...(name.trim() === "" ? {} : { name: name.trim() }),
    };
    const { id } = unwrap(
      await getServices().api.POST("/evaluations", {
        body,
        params: { header: { "Idempotency-Key": keyOf(body) } },
      }),
    );
    navigate(["evaluations", id]);
  }, [["evaluations"]]);
  const isReady = canCreate && ids.length > 0 && unavailable.length === 0 &&
    data?.status === "processed";
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        create.mutate();
      }}
    >
      {!canCreate && (
        <p class="notice">
          Your role doesn't allow calling models. Ask a project owner for the developer role.
        </p>
      )}
      <section aria-labelledby="models">
        <h2 id="models">1. Models</h2>
        <div class="fields pair">
          {chosen.map((id, n) => (
            <ModelSelect
              key={n}
              label={n === 0 ? "Model" : n === 1 ? "Compare with" : `Also compare with (${n + 1})`}
              models={models}
              value={id}
              optional={n > 0}
              onChange={(model) => setChosen(chosen.map((other, i) => i === n ? model : other))}
            />
          ))}
        </div>
        {chosen.length < maxModels && (
          <button
            type="button"
            class="small"
            onClick={() => setChosen([...chosen, null])}
          >
            Add a model
          </button>
        )}
        {unavailable.map(({ id, why }) => (
          <p key={id} class="problem">
            <strong>{id}</strong> cannot be called: {why} <a href={href(["models"])}>Models</a>
          </p>
        ))}
      </section>
      <section aria-labelledby="data">
        <h2 id="data">2. Questions and expected answers</h2>
        <DataField
          label="Held-out rows"
          hint="Chat rows that the model was not trained on. The last assistant message of each row is the expected answer. Up to 32 MiB."
          value={file}
          onChange={setFile}
        />
        <TrainedRows jobId={trainedBy} file={data?.status === "processed" ? file : null} />
      </section>
      <section aria-labelledby="settings">
        <h2 id="settings">3. Settings</h2>
        <div class="fields">
          <NumberInput
            label="Rows"
            hint="The maximum, spread evenly over the file."
            value={rows}
            min={1}
            max={1000}
            onChange={setRows}
          />
          <NumberInput
            label="Max tokens per answer"
            hint="Longer answers are truncated."
            value={maxTokens}
            min={1}
            max={8192}
            onChange={setMaxTokens}
          />
          <NumberInput
            label="Temperature"
            hint="0 always picks the most likely token."
            value={temperature}
            min={0}
            max={2}
            step="any"
            onChange={setTemperature}
          />
          <Field label="Name" hint="Shown in the list of evaluations.">
            {(control) => (
              <input
                {...control}
                maxLength={100}
                placeholder={data?.filename ?? "the file's name"}
                value={name}
                onInput={(event) => setName(event.currentTarget.value)}
              />
            )}
          </Field>
        </div>
        <GradersField graders={graders} onChange={setGraders} />
      </section>
      {create.error && <ErrorMessage error={create.error} />}
      <p class="actions">
        <button
          type="submit"
          class="primary"
          disabled={!isReady || create.isPending}
        >
          {create.isPending ? "Starting …" : "Start evaluation"}
        </button>
        <span class="quiet small">
          {describeCost(models, ids, Number(rows), data?.report?.rows ?? null)}
        </span>
      </p>
    </form>
  );
}

const NumberInput = ({ label, hint, value, min, max, step = 1, onChange }: {
  label: string;
  hint: string;
  value: string;
  min: number;
  max: number;
  step?: number | "any";
  onChange: (value: string) => void;
}) => (
  <Field label={label} hint={hint}>
    {(control) => (
      <input
        {...control}
        type="number"
        required
        min={min}
        max={max}
        step={step}
        value={value}
        onInput={(event) => onChange(event.currentTarget.value)}
      />
    )}
  </Field>
);

/** The number of requests, and how they are billed. */
function describeCost(
  models: ModelList,
  ids: string[],
  maxRows: number,
  fileRows: number | null,
): string {
  if (fileRows === null || ids.length === 0) {
    return "Answers are billed as chat completions.";
  }
  const requests = Math.min(maxRows, fileRows) * ids.length;
  const prices = ids.map((id) => priceOf(models, id));
  const isFree = prices.every((price) =>
    price !== null && price.usd_per_million_input_tokens === 0 &&
    price.usd_per_million_output_tokens === 0 &&
    price.usd_per_hour === 0
  );
  return `${pluralize(requests, "request")}, ${
    isFree ? "free of charge" : "billed as chat completions, within the project's spend cap"
  }.`;
}

function priceOf(
  models: ModelList,
  id: string,
): Schemas["BaseModel"]["inference"] {
  const base = findModel(models, id)?.base;
  return models.base.find((model) => model.id === base)?.inference ?? null;
}
