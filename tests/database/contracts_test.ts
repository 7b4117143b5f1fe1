/** The database catalog matches the contracts, and the dashboard keeps a job's settings. */
import { assertEquals } from "#assert";
import { buildJobRequest, readForm, retryQuery } from "../../dashboard/src/features/new_job/form.ts";
import { connect, unwrap } from "../../client/mod.ts";
import { channelKinds } from "../../supabase/functions/_shared/contracts/channels.ts";
import { eventTypes } from "../../supabase/functions/_shared/contracts/event_types.ts";
import {
  apiFields,
  apiName,
  field,
  range,
  trainingMethods,
} from "../../supabase/functions/_shared/contracts/hyperparameters.ts";
import { csvColumns, metricField, metricNames } from "../../supabase/functions/_shared/contracts/metrics.ts";
import { scopes } from "../../supabase/functions/_shared/contracts/scopes.ts";
import * as statuses from "../../supabase/functions/_shared/contracts/statuses.ts";
import { createJob } from "../support/fake_worker.ts";
import { startTunebase } from "../support/test_server.ts";

/** The schemas of the tables and the functions. */
const schemas = { tables: "tunebase", functions: "tunebase_internal" };

const tunebase = await startTunebase({ TUNEBASE_WANDB: "1", TUNEBASE_HUB_NAMESPACES: "acme" });
const { sql } = tunebase;
Deno.test.afterAll(() => tunebase.close());

/** The check constraints on only this column, as Postgres prints them. */
async function checksOf(table: string, column: string): Promise<string> {
  const rows = await sql<{ definition: string }[]>`
    select pg_get_constraintdef(c.oid) as definition
    from pg_constraint c
    join pg_attribute a on a.attrelid = c.conrelid and c.conkey = array[a.attnum]
    where c.contype = 'c' and c.conrelid = ${`${schemas.tables}.${table}`}::regclass and a.attname = ${column}`;
  return rows.map(({ definition }) => definition).join(" and ");
}
const wordsOf = (definition: string) =>
  [...definition.matchAll(/'([^']*)'::text/g)].map(([, word = ""]) => word);

const lists: [table: string, column: string, words: readonly string[]][] = [
  ["jobs", "status", statuses.jobStatuses],
  ["jobs", "stage", statuses.stages],
  ["jobs", "method", trainingMethods],
  ["attempts", "outcome", statuses.attemptOutcomes],
  ["files", "status", statuses.fileStatuses],
  ["files", "purpose", statuses.filePurposes],
  ["events", "level", statuses.logLevels],
  ["events", "type", statuses.jobEventTypes],
  ["project_members", "role", statuses.roles],
  ["webhook_deliveries", "status", statuses.deliveryStatuses],
];
for (const [table, column, words] of lists) {
  Deno.test(`${table}.${column} allows exactly the declared values`, async () => {
    assertEquals(wordsOf(await checksOf(table, column)), [...words]);
  });
}

Deno.test("event types, scopes and channel kinds in SQL match the contracts", async () => {
  const [row] = await sql.unsafe<{ event_types: string[]; scopes: string[]; channel_kinds: string[] }[]>(
    `select ${schemas.functions}.event_types() as event_types, ${schemas.functions}.scopes() as scopes,
       ${schemas.functions}.channel_kinds() as channel_kinds`,
  );
  assertEquals(row, { event_types: [...eventTypes], scopes: [...scopes], channel_kinds: channelKinds });
});

Deno.test("base_models.max_length allows the hyperparameter's maximum", async () => {
  const [min, max] = range("max_length");
  assertEquals(
    await checksOf("base_models", "max_length"),
    `CHECK (((max_length >= ${min}) AND (max_length <= ${max})))`,
  );
});

Deno.test("each metric has a column with the declared nullability", async () => {
  const columns = await sql<{ name: string; nullable: boolean }[]>`
    select attname as name, not attnotnull as nullable from pg_attribute
    where attrelid = ${`${schemas.tables}.metrics`}::regclass and attnum > 0 and not attisdropped
    order by attnum`;
  const ours = ["job_id", "project_id", "attempt", "created_at"];
  assertEquals(
    columns.filter(({ name }) => !ours.includes(name)).map(({ name, nullable }) => [name, nullable]),
    metricNames.map((name) => [name, metricField(name).nullable]),
  );
});

for (const name of ["record_progress", "get_job_metrics"]) {
  Deno.test(`${name}() handles every metric`, async () => {
    const [row] = await sql<{ source: string }[]>`
      select prosrc as source from pg_proc
      where proname = ${name} and pronamespace = ${schemas.functions}::regnamespace`;
    assertEquals(metricNames.filter((metric) => !new RegExp(`\\b${metric}\\b`).test(row?.source ?? "")), []);
  });
}

Deno.test("the result file has the declared columns", async () => {
  const [row] = await sql.unsafe<{ csv: string }[]>(
    `select ${schemas.functions}.metrics_csv('00000000-0000-0000-0000-000000000000') as csv`,
  );
  assertEquals(row?.csv, `${csvColumns.join(",")}\n`);
});

/** Consistent values other than the defaults; unlisted fields get the largest value that their declaration allows. */
const asked = {
  n_epochs: 4,
  batch_size: 2,
  learning_rate: 1e-4,
  lora_rank: 32,
  lora_alpha: 48,
  lora_dropout: 0.1,
  lora_targets: "attention" as const,
  lora_variant: "dora" as const,
  use_rslora: true,
  warmup_steps: 2,
  lr_schedule: "cosine" as const,
  weight_decay: 0.01,
  max_grad_norm: 0.5,
  validation_split: 0.2,
  early_stopping_patience: 5,
  max_length: 512,
  export: ["merged" as const],
};

/** Hyperparameters that `asked` does not name, without DPO's and mutually exclusive ones. */
function largestOfTheRest(): Record<string, unknown> {
  const excluded = ["learning_rate_multiplier", "warmup_ratio"];
  return Object.fromEntries(apiFields.flatMap((name): [string, unknown][] => {
    const of = field(name);
    if (apiName(name) in asked || excluded.includes(name) || of.method !== undefined) return [];
    switch (of.kind) {
      case "number":
      case "integer":
        return [[apiName(name), of.max ?? of.min + 1]];
      case "switch":
        return [[apiName(name), true]];
      case "choice":
        return [[apiName(name), of.values.at(-1)]];
      case "list":
        return [[apiName(name), [...of.values]]];
    }
  }));
}

Deno.test("rerunning a job from the dashboard keeps every setting", async () => {
  const hyperparameters = { ...largestOfTheRest(), ...asked };
  const user = await tunebase.user();
  const api = connect({ baseUrl: `${tunebase.url}/functions/v1/tunebase`, token: () => user.apiKey });
  const { training_file, model } = await createJob(user);
  const first = unwrap(
    await api.POST("/fine_tuning/jobs", {
      body: {
        model,
        training_file,
        hyperparameters,
        suffix: "again",
        seed: 7,
        metadata: { team: "a=b", empty: "" },
        spend_cap_usd: 12.5,
        auto_start: false,
        integrations: [{
          type: "wandb",
          wandb: { project: "p", entity: "e", name: "n", tags: ["x, y", "z"] },
        }, { type: "huggingface", huggingface: { repo: "acme/x", private: false } }],
      },
    }),
  );
  for (const [name, value] of Object.entries(hyperparameters)) {
    assertEquals<unknown>(first.hyperparameters[name], value, name);
  }
  const form = readForm(new URLSearchParams(retryQuery(first, null)));
  const body = buildJobRequest(form, "chat");
  if (body === null) throw new Error("the form is not filled in");
  const second = unwrap(await api.POST("/fine_tuning/jobs", { body }));
  const settings = ({ hyperparameters, method, seed, suffix, metadata, integrations }: typeof first) => ({
    hyperparameters,
    method,
    seed,
    suffix,
    metadata,
    integrations,
  });
  assertEquals(settings(second), settings(first));
  assertEquals([second.spend_cap_usd, second.auto_start], [12.5, false]);
});
