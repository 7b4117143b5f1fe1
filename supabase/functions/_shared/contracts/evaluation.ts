/**
 * The evaluation at the end of a fine-tune, declared once: the source of the manifest's field, the OpenAPI object, the
 * trainer's models, and the tables of the CLI and the dashboard. Imports nothing, because the dashboard loads it; the
 * graders' schema, which needs zod, is in graders.ts.
 */
export interface ScoreField {
  label: string;
  /** The description in the trainer's model and in the OpenAPI document. */
  description: string;
  /** A fraction from 0 to 1, shown as a percentage. */
  share: boolean;
}

/** Each score is measured for the base model and for the fine-tuned one. null: not applicable, or not measured. */
export const evaluationScores = {
  loss: {
    label: "Loss per token",
    description:
      "Mean cross-entropy in nats per trained token; for preference rows, per token of the preferred answers",
    share: false,
  },
  exact_match: {
    label: "Exact match",
    description:
      "Share of the compared answers that equal the expected answer, ignoring surrounding whitespace; supervised rows only",
    share: true,
  },
  valid_json: {
    label: "Valid JSON",
    description:
      "Share of valid JSON among the answers to rows whose expected answer is a JSON object or array",
    share: true,
  },
  field_accuracy: {
    label: "Correct JSON fields",
    description: "Share of the top-level fields of the expected JSON objects whose value the answer matches",
    share: true,
  },
  preference_accuracy: {
    label: "Preference accuracy",
    description: "Share of the preference rows whose preferred answer has the higher likelihood",
    share: true,
  },
} as const satisfies Record<string, ScoreField>;
export type ScoreName = keyof typeof evaluationScores;

const isScore = (name: string): name is ScoreName => name in evaluationScores;
export const scoreNames: ScoreName[] = Object.keys(evaluationScores).filter(isScore);

export const evaluationCounts = {
  rows: { min: 1, description: "Validation rows, or the training rows used instead of them" },
  rows_evaluated: { min: 0, description: "Rows whose loss was measured within the time budget" },
  answers_evaluated: {
    min: 0,
    description: "Rows whose generated answers were compared with the expected answer",
  },
  json_answers_evaluated: {
    min: 0,
    description: "Those of them whose expected answer is a JSON object or array",
  },
} as const;
export type CountName = keyof typeof evaluationCounts;

const isCount = (name: string): name is CountName => name in evaluationCounts;
export const countNames: CountName[] = Object.keys(evaluationCounts).filter(isCount);

/** `training`: there were no validation rows, so the scores show how well the model fits rows that it was trained on. */
export const evaluatedRows = ["validation", "training"] as const;

/** Formats a score for display. */
export const formatScore = (name: ScoreName, value: number | null): string =>
  value === null
    ? "–"
    : evaluationScores[name].share
    ? `${Math.round(value * 1000) / 10}%`
    : value.toFixed(3);

export type Scores = Readonly<Record<ScoreName, number | null>>;
export type Counts = Readonly<Record<CountName, number>>;

/** The measured scores of both models, formatted for display. */
export const scoreRows = ({ base, tuned }: { base: Scores; tuned: Scores }) =>
  scoreNames.filter((name) => base[name] !== null || tuned[name] !== null).map((name) => ({
    label: evaluationScores[name].label,
    base: formatScore(name, base[name]),
    tuned: formatScore(name, tuned[name]),
  }));

/** How many rows were evaluated within the time budget. */
export function describeEvaluatedRows(
  { rows, rows_evaluated, answers_evaluated, json_answers_evaluated, rows_from }: Counts & {
    rows_from: string;
  },
): string {
  const answers = answers_evaluated === 0 ? "" : `, answers compared for ${answers_evaluated}`;
  const json = json_answers_evaluated === 0 ? "" : ` (${json_answers_evaluated} of them JSON)`;
  const instead = rows_from === "training" ? "; there are no validation rows" : "";
  return `${rows_evaluated} of ${rows} ${rows_from} row${rows === 1 ? "" : "s"}${answers}${json}${instead}`;
}

/** A grader of `POST /evaluations` as a column heading. */
export const graderName = (
  grader: { type: "contains"; value: string } | {
    type: "regex";
    pattern: string;
  },
): string =>
  grader.type === "contains" ? `contains ${JSON.stringify(grader.value)}` : `matches /${grader.pattern}/`;
