/**
 * The evaluation at the end of a fine-tune, declared once: the source of the manifest's field, the OpenAPI object, the
 * trainer's models, and the tables of the CLI and the dashboard. Imports nothing, because the dashboard loads it.
 */
export interface ScoreField {
  label: string;
  /** What the trainer's model and the OpenAPI document say. */
  description: string;
  /** A share of 0 to 1, shown in percent. */
  share: boolean;
}

/** Each is measured for the base model and for the fine-tuned one. null: it does not apply, or was not measured. */
export const evaluationScores = {
  loss: {
    label: "Loss per token",
    description: "Mean cross entropy in nats per learned token; of preference rows, per token of the preferred answers",
    share: false,
  },
  exact_match: {
    label: "Exact match",
    description: "Share of the compared answers that equal the expected answer; supervised rows only",
    share: true,
  },
  valid_json: {
    label: "Valid JSON",
    description: "Share of valid JSON among the answers to rows whose expected answer is a JSON object or array",
    share: true,
  },
  field_accuracy: {
    label: "Correct JSON fields",
    description: "Share of the expected JSON objects' top-level fields whose value is equal in the answer",
    share: true,
  },
  preference_accuracy: {
    label: "Preferred answer likelier",
    description: "Share of the preference rows whose preferred answer is likelier than the other",
    share: true,
  },
} as const satisfies Record<string, ScoreField>;
export type ScoreName = keyof typeof evaluationScores;

const isScore = (name: string): name is ScoreName => name in evaluationScores;
export const scoreNames: ScoreName[] = Object.keys(evaluationScores).filter(isScore);

export const evaluationCounts = {
  rows: { min: 1, description: "Validation rows, or the training rows chosen instead of them" },
  rows_evaluated: { min: 0, description: "Rows whose loss was measured within the time budget" },
  answers_evaluated: { min: 0, description: "Rows whose generated answers were compared with the expected answer" },
  json_answers_evaluated: { min: 0, description: "Those of them whose expected answer is a JSON object or array" },
} as const;
export type CountName = keyof typeof evaluationCounts;

const isCount = (name: string): name is CountName => name in evaluationCounts;
export const countNames: CountName[] = Object.keys(evaluationCounts).filter(isCount);

/** `training`: there were no validation rows, so the figures say how well the model fits what it has seen. */
export const evaluatedRows = ["validation", "training"] as const;

/** A score as people read it. */
export const formatScore = (name: ScoreName, value: number | null): string =>
  value === null
    ? "–"
    : evaluationScores[name].share
    ? `${Math.round(value * 1000) / 10}%`
    : value.toFixed(3);
