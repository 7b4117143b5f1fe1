/** Additional checks of an evaluation's answers. */
import type { Schemas } from "../../../../client/mod.ts";

export interface GraderDraft {
  type: Schemas["EvaluationGrader"]["type"];
  /** The text or the pattern. */
  text: string;
  ignoreCase: boolean;
}

const maxGraders = 10;
const labels: Record<GraderDraft["type"], string> = {
  contains: "contains",
  regex: "matches the pattern",
};

export const toGrader = (
  { type, text, ignoreCase }: GraderDraft,
): Schemas["EvaluationGrader"] =>
  type === "contains"
    ? { type, value: text, ignore_case: ignoreCase }
    : { type, pattern: text, ignore_case: ignoreCase };

export function GradersField({ graders, onChange }: {
  graders: GraderDraft[];
  onChange: (graders: GraderDraft[]) => void;
}) {
  const replace = (index: number, fields: Partial<GraderDraft>) =>
    onChange(
      graders.map((grader, n) => n === index ? { ...grader, ...fields } : grader),
    );
  return (
    <fieldset>
      <legend>Checks</legend>
      <p class="hint">
        Exact matches, valid JSON and correct JSON fields are always counted. Add your own checks of a good
        answer.
      </p>
      {graders.map((grader, n) => (
        <div key={n} class="grader">
          <label>
            <span class="unseen">Check {n + 1}</span>
            <select
              value={grader.type}
              onChange={(event) =>
                replace(n, {
                  type: event.currentTarget.value === "regex" ? "regex" : "contains",
                })}
            >
              <option value="contains">{labels.contains}</option>
              <option value="regex">{labels.regex}</option>
            </select>
          </label>
          <input
            aria-label={grader.type === "regex" ? `Pattern ${n + 1} (RE2)` : `Text ${n + 1}`}
            required
            maxLength={1000}
            value={grader.text}
            onInput={(event) => replace(n, { text: event.currentTarget.value })}
          />
          <label class="plain">
            <input
              type="checkbox"
              checked={grader.ignoreCase}
              onChange={(event) => replace(n, { ignoreCase: event.currentTarget.checked })}
            />{" "}
            Ignore case
          </label>
          <button
            type="button"
            class="small"
            onClick={() => onChange(graders.filter((_, other) => other !== n))}
          >
            Remove <span class="unseen">check {n + 1}</span>
          </button>
        </div>
      ))}
      {graders.length < maxGraders && (
        <button
          type="button"
          class="small"
          onClick={() =>
            onChange([...graders, {
              type: "contains",
              text: "",
              ignoreCase: true,
            }])}
        >
          Add a check
        </button>
      )}
    </fieldset>
  );
}
