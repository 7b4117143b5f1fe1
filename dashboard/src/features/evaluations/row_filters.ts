/** Which rows of an evaluation to show. */
import type { EvaluationRow } from "../../lib/types.ts";

type Answer = EvaluationRow["answers"][number];

/** An answer's scores, as one comparable value. Answers with different scores differ in more than wording. */
const resultOf = (
  { exact_match, valid_json, fields_correct, graders }: Answer,
): string => JSON.stringify([exact_match, valid_json, fields_correct, graders]);
const hasDifferent = (
  answers: Answer[],
  valueOf: (answer: Answer) => unknown,
): boolean => answers.some((answer) => valueOf(answer) !== valueOf(answers[0] ?? answer));

export const rowFilters = {
  all: { label: "All rows", matches: () => true, needsTwo: false },
  answers: {
    label: "Only where the answers differ",
    matches: ({ answers }) => hasDifferent(answers, ({ answer }) => answer),
    needsTwo: true,
  },
  results: {
    label: "Only where the scores differ",
    matches: ({ answers }) => hasDifferent(answers, resultOf),
    needsTwo: true,
  },
  wrong: {
    label: "Only without an exact match",
    matches: ({ answers }) => answers.some(({ exact_match }) => exact_match === false),
    needsTwo: false,
  },
} as const satisfies Record<
  string,
  { label: string; matches: (row: EvaluationRow) => boolean; needsTwo: boolean }
>;
export type RowFilter = keyof typeof rowFilters;

const isFilter = (name: string): name is RowFilter => name in rowFilters;
export const filterNames: RowFilter[] = Object.keys(rowFilters).filter(
  isFilter,
);
