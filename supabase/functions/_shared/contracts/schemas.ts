/** The declarations as zod schemas: for the API's requests, the trainer's protocol and the JSON Schema made of it. */
import * as z from "zod";
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

// Both casts: TypeScript cannot follow a loop over names. The types are made of the very declarations that are looped over.
/** Of the trainer's input: by its own names, and with what it takes for what is left out. */
export const trainerShape = Object.fromEntries(
  trainerNames.map((name) => [name, trainerSchema(name)]),
) as unknown as { [N in TrainerName]: z.ZodType<Value<N>> };
/** Of the API's `hyperparameters`: by OpenAI's names; each may be left out. */
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
/** Of one logged step. */
export const metricShape = Object.fromEntries(
  metricNames.map((name) => [name, metricSchema(name)]),
) as unknown as MetricShape;
/** As a worker reports it. Left out is null: a worker of an older image knows nothing of a new metric. */
export const reportedMetricShape = Object.fromEntries(
  metricNames.map((name) => [
    name,
    metricField(name).nullable ? metricSchema(name).default(null) : metricSchema(name),
  ]),
) as unknown as {
  [M in MetricName]: typeof metrics[M]["nullable"] extends true ? z.ZodDefault<z.ZodType<number | null>>
    : z.ZodType<number, number>;
};
