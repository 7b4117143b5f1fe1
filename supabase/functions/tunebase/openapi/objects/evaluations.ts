/** Evaluations: models compared over the rows of a file. */
import * as z from "zod";
import { Grader } from "../../../_shared/contracts/graders.ts";
import { evaluationStatuses } from "../../../_shared/contracts/statuses.ts";
import { count, id, stored, time, usd, word } from "./fields.ts";

const share = z.number().min(0).max(1).nullable();

export const EvaluationTotals = z.object({
  model: z.string(),
  answered: count,
  failed: count.describe("Rows that the model could not answer"),
  exact_match: share.describe(
    "Share of the answers that match the expected answer exactly; tool calls are compared as JSON",
  ),
  valid_json: share.describe(
    "Share of valid JSON among the answers to rows whose expected answer is a JSON object or array",
  ),
  field_accuracy: share.describe(
    "Share of the top-level fields of the expected JSON objects whose value the answer matches",
  ),
  graders: z.array(share).describe("The share of the answers that pass each grader, in their order"),
  prompt_tokens: count,
  completion_tokens: count,
  seconds: z.number(),
  cost_usd: usd,
}).meta({ id: "EvaluationTotals" });

export const Evaluation = z.object({
  id: id("eval_"),
  object: z.literal("evaluation"),
  created_at: time,
  finished_at: time.nullable(),
  name: z.string(),
  status: word(...evaluationStatuses),
  error: z.object({ code: z.string(), message: z.string() }).nullable(),
  file: id("file-").describe("The file may have been deleted since; the evaluation keeps copies of its rows"),
  file_rows: count.describe("How many rows the file has"),
  rows: count.describe("How many of them are evaluated"),
  answered: count.describe("Answers so far, from all models; `rows` times the number of models in total"),
  models: z.array(z.string()),
  graders: stored(z.array(Grader)),
  temperature: z.number(),
  max_completion_tokens: z.int(),
  seed: z.int(),
  metadata: stored(z.record(z.string(), z.string())),
  totals: z.array(EvaluationTotals),
}).meta({ id: "Evaluation" });
export type Evaluation = z.infer<typeof Evaluation>;

export const EvaluationAnswer = z.object({
  model: z.string(),
  answer: z.string().nullable(),
  finish_reason: z.string().nullable(),
  error: z.string().nullable(),
  exact_match: z.boolean().nullable(),
  valid_json: z.boolean().nullable(),
  fields_correct: count.nullable(),
  fields_expected: count.nullable(),
  graders: z.array(z.boolean()).nullable(),
  prompt_tokens: count,
  completion_tokens: count,
}).meta({ id: "EvaluationAnswer" });

export const EvaluationRow = z.object({
  id: z.string().meta({ examples: ["evalrow_12"] }),
  object: z.literal("evaluation.row"),
  line: z.int().describe("In the file, from 1"),
  messages: z.array(z.unknown()),
  tools: z.array(z.unknown()).nullable(),
  expected: z.string(),
  answers: z.array(EvaluationAnswer),
}).meta({ id: "EvaluationRow" });
export type EvaluationRow = z.infer<typeof EvaluationRow>;
