/** Serializes evaluations. */
import { publicId } from "../ids.ts";
import type * as objects from "../openapi/objects/index.ts";
import type { EvaluatedRow, EvaluationRow } from "../rows.ts";
import { seconds } from "../time.ts";

export function renderEvaluation(row: EvaluationRow): objects.Evaluation {
  return {
    id: publicId("evaluation", row.id),
    object: "evaluation" as const,
    created_at: seconds(row.created_at),
    finished_at: seconds(row.finished_at),
    name: row.name,
    status: row.status,
    error: row.error,
    file: publicId("file", row.file_id),
    file_rows: row.file_rows,
    rows: row.row_count,
    answered: row.answered,
    models: row.models,
    graders: row.graders,
    ...row.sampling,
    metadata: row.metadata,
    totals: row.totals,
  };
}

export function renderEvaluatedRow(row: EvaluatedRow): objects.EvaluationRow {
  return {
    id: `evalrow_${row.line}`,
    object: "evaluation.row" as const,
    line: row.line,
    messages: row.prompt.messages,
    tools: row.prompt.tools ?? null,
    expected: row.expected,
    answers: row.answers.map(({ scores, ...answer }) => ({
      ...answer,
      exact_match: scores?.exact_match ?? null,
      valid_json: scores?.valid_json ?? null,
      fields_correct: scores?.fields_correct ?? null,
      fields_expected: scores?.fields_expected ?? null,
      graders: scores?.graders ?? null,
    })),
  };
}
