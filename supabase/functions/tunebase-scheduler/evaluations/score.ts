/** Scores one answer, like the trainer at the end of a job (`trainer/tunebase_trainer/evaluation/scores.py`). */
import { RE2JS } from "re2js";
import { isObject } from "../../_shared/datasets/report.ts";
import type { Grader } from "../../_shared/contracts/graders.ts";

export interface AnswerScores {
  exact_match: boolean;
  /** null: the expected answer is not a JSON object or array. */
  valid_json: boolean | null;
  /** Counts of the expected object's top-level fields; 0 of 0 for other answers. */
  fields_correct: number;
  fields_expected: number;
  /** In the order of the graders. */
  graders: boolean[];
}

/** `isJson`: compare as JSON, ignoring the order of fields. Tool calls are compared this way. */
export function scoreAnswer(
  expected: string,
  answer: string,
  graders: Grader[],
  { isJson = false } = {},
): AnswerScores {
  const wanted = parseDocument(expected);
  const given = wanted === undefined ? undefined : parse(answer);
  const fields = isObject(wanted) ? Object.entries(wanted) : [];
  return {
    exact_match: isJson ? jsonEqual(wanted, given) : expected.trim() === answer.trim(),
    valid_json: wanted === undefined ? null : given !== undefined,
    fields_correct: isObject(given)
      ? fields.filter(([name, value]) => Object.hasOwn(given, name) && jsonEqual(value, given[name])).length
      : 0,
    fields_expected: fields.length,
    graders: graders.map((grader) => passes(grader, answer)),
  };
}

function passes(grader: Grader, answer: string): boolean {
  if (grader.type === "regex") {
    return RE2JS.compile(grader.pattern, grader.ignore_case ? RE2JS.CASE_INSENSITIVE : 0).matcher(answer)
      .find();
  }
  return grader.ignore_case
    ? answer.toLowerCase().includes(grader.value.toLowerCase())
    : answer.includes(grader.value);
}

/** undefined: not JSON. */
function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Parses a JSON object or array. A bare number or word counts as plain text. */
function parseDocument(text: string): unknown {
  const value = parse(text);
  return typeof value === "object" && value !== null ? value : undefined;
}

function jsonEqual(a: unknown, b: unknown): boolean {
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((item, index) => jsonEqual(item, b[index]));
  }
  if (isObject(a) && isObject(b)) {
    const names = Object.keys(a);
    return names.length === Object.keys(b).length &&
      names.every((name) => Object.hasOwn(b, name) && jsonEqual(a[name], b[name]));
  }
  return a === b;
}
