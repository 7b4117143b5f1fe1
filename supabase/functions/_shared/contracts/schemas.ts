/** Hyperparameters and metrics as zod schemas, for the API, the trainer's protocol and its JSON Schema. */
import * as z from "zod";
import {
  type CountName,
  countNames,
  evaluatedRows,
  evaluationCounts,
  evaluationScores,
  type ScoreName,
  scoreNames,
} from "./evaluation.ts";
import {
  type ApiField,
  apiFields,
  apiName,
  type ApiNameOf,
  type Asked,
  field,
  type HyperparameterField,
  type Name,
  type TrainerName,
  trainerNames,
  type Value,
} from "./hyperparameters.ts";
import { metricField, type MetricName, metricNames, type metrics } from "./metrics.ts";

function plain(of: HyperparameterField): z.ZodType {
  switch (of.kind) {
    case "switch":
      return z.boolean();
    case "choice":
      return z.enum([...of.values]);
    case "list":
      return z.array(z.enum([...of.values])).max(of.values.length);
    case "number":
    case "integer": {
      const any = of.kind === "integer" ? z.int() : z.number();
      const low = of.above ? any.gt(of.min) : any.min(of.min);
      return of.max === undefined ? low : low.max(of.max);
    }
  }
}
const nullable = (of: HyperparameterField, schema: z.ZodType) =>
  "nullable" in of && of.nullable ? schema.nullable() : schema;

function trainerSchema(name: Name): z.ZodType {
  const of = field(name);
  const schema = nullable(of, plain(of));
  return of.leftOut === undefined ? schema : schema.default(of.leftOut);
}
function apiSchema(name: Name): z.ZodType {
  const of = field(name);
  const schema = of.auto ? z.union([plain(of), z.literal("auto")]) : plain(of);
  return nullable(of, schema).optional();
}

// The casts below: TypeScript cannot type a loop over names. Their types are derived from the same declarations.
/** The trainer's input, with its own names and defaults. */
export const trainerShape = Object.fromEntries(
  trainerNames.map((name) => [name, trainerSchema(name)]),
) as unknown as { [N in TrainerName]: z.ZodType<Value<N>> };
/** The API's `hyperparameters`, with OpenAI's names. All are optional. */
export const apiShape = Object.fromEntries(
  apiFields.map((name) => [apiName(name), apiSchema(name)]),
) as unknown as { [N in ApiField as ApiNameOf<N>]: z.ZodOptional<z.ZodType<Asked<N>>> };

function metricSchema(name: MetricName): z.ZodType {
  const { integer, min, max, nullable, unit } = metricField(name);
  const any = integer ? z.int() : z.number();
  const low = min === undefined ? any : any.min(min);
  const within = max === undefined ? low : low.max(max);
  return (nullable ? within.nullable() : within).describe(unit);
}
type MetricValue<M extends MetricName> = typeof metrics[M]["nullable"] extends true ? number | null : number;
type MetricShape = { [M in MetricName]: z.ZodType<MetricValue<M>> };
/** A logged step. */
export const metricShape = Object.fromEntries(
  metricNames.map((name) => [name, metricSchema(name)]),
) as unknown as MetricShape;
/** A step as a worker reports it. A missing metric is null, because an older worker image does not know newer metrics. */
export const reportedMetricShape = Object.fromEntries(
  metricNames.map((name) => [
    name,
    metricField(name).nullable ? metricSchema(name).default(null) : metricSchema(name),
  ]),
) as unknown as {
  [M in MetricName]: typeof metrics[M]["nullable"] extends true ? z.ZodDefault<z.ZodType<number | null>>
    : z.ZodType<number, number>;
};

/** Bounds what a hostile worker can store. A cross entropy is at most the logarithm of the smallest probability. */
const maxLoss = 1e6;
function scoreSchema(name: ScoreName): z.ZodType<number | null> {
  const { share, description } = evaluationScores[name];
  return z.number().min(0).max(share ? 1 : maxLoss).nullable().describe(description);
}
/** The evaluation of one model. */
const scoresShape = Object.fromEntries(
  scoreNames.map((name) => [name, scoreSchema(name)]),
) as unknown as { [N in ScoreName]: z.ZodType<number | null> };
const countShape = Object.fromEntries(
  countNames.map((name) => [
    name,
    z.int().min(evaluationCounts[name].min).describe(evaluationCounts[name].description),
  ]),
) as unknown as { [N in CountName]: z.ZodType<number> };

/** Base and fine-tuned model on the same rows. */
export const Evaluation = z.strictObject({
  rows_from: z.enum(evaluatedRows).describe("`training`: there were no validation rows"),
  ...countShape,
  base: z.strictObject(scoresShape).describe("The same network with the adapter switched off"),
  tuned: z.strictObject(scoresShape),
});
export type Evaluation = z.infer<typeof Evaluation>;
