/** The runs' scores in evaluations. Imports only the names of scores, so that tests can run it alone. */
import type { Evaluation, Job } from "../../lib/types.ts";
import { scoresOf, type Totals } from "../evaluations/scores.ts";

type Compared = Pick<Evaluation, "file" | "created_at" | "graders" | "totals">;

/** A run with the evaluations of its model, the newest first. */
export interface EvaluatedRun<E extends Compared = Evaluation> {
  job: Pick<Job, "fine_tuned_model" | "base_model">;
  evaluations: E[];
}

/** The files that the runs were evaluated with: those of the most runs first, then the most recently used. */
export function evaluatedFiles(runs: EvaluatedRun<Compared>[]): { file: string; runs: number }[] {
  const evaluations = runs.flatMap(({ evaluations }) => evaluations);
  const newest = (id: string) =>
    Math.max(...evaluations.filter(({ file }) => file === id).map(({ created_at }) => created_at));
  return [...new Set(evaluations.map(({ file }) => file))]
    .map((file) => ({ file, runs: runs.filter((run) => evaluationWith(run, file) !== null).length }))
    .sort((a, b) => b.runs - a.runs || newest(b.file) - newest(a.file));
}

export const evaluationWith = <E extends Compared>(
  { evaluations }: EvaluatedRun<E>,
  file: string,
): E | null => evaluations.find((evaluation) => evaluation.file === file) ?? null;

export interface ScoreRow {
  label: string;
  /** The scores of each run, and of its base model if the same evaluation includes it. null: not measured. */
  values: { tuned: number | null; base: number | null }[];
}

/** The scores that at least one run has with this file. */
export function scoreRows(runs: EvaluatedRun<Compared>[], file: string): ScoreRow[] {
  const own = runs.map(({ job, evaluations }) => {
    const evaluation = evaluationWith({ job, evaluations }, file);
    const totalsOf = (model: string | null) => evaluation?.totals.find((totals) => totals.model === model);
    const scores = evaluation === null ? [] : scoresOf(evaluation.graders);
    return { scores, tuned: totalsOf(job.fine_tuned_model), base: totalsOf(job.base_model) };
  });
  const labels = [...new Set(own.flatMap(({ scores }) => scores.map(({ label }) => label)))];
  return labels.map((label) => ({
    label,
    values: own.map(({ scores, tuned, base }) => {
      const score = scores.find((score) => score.label === label);
      const of = (totals: Totals | undefined) =>
        score === undefined || totals === undefined ? null : score.valueOf(totals);
      return { tuned: of(tuned), base: of(base) };
    }),
  })).filter(({ values }) => values.some(({ tuned }) => tuned !== null));
}
