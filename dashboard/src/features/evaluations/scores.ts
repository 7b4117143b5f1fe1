/** The scores that an evaluation measures. */
import { evaluationScores, graderName } from "../../../../supabase/functions/_shared/contracts/evaluation.ts";
import type { Evaluation } from "../../lib/types.ts";

export type Totals = Evaluation["totals"][number];

export interface Score {
  label: string;
  valueOf: (totals: Totals) => number | null;
}

const names = ["exact_match", "valid_json", "field_accuracy"] as const;

/** The graders' scores are last, in the graders' order. */
export const scoresOf = (graders: Evaluation["graders"]): Score[] => [
  ...names.map((name): Score => ({
    label: evaluationScores[name].label,
    valueOf: (totals) => totals[name],
  })),
  ...graders.map((grader, n): Score => ({
    label: graderName(grader),
    valueOf: ({ graders }) => graders[n] ?? null,
  })),
];
