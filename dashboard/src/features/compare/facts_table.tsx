/** The runs' settings and results, one column per run. */
import { useState } from "preact/hooks";
import {
  evaluationScores,
  formatScore,
  scoreNames,
} from "../../../../supabase/functions/_shared/contracts/evaluation.ts";
import { formatCompact, formatDuration, formatNumber, formatTime, formatUsd } from "../../lib/format.ts";
import { href } from "../../lib/router.ts";
import type { Job } from "../../lib/types.ts";
import { Status } from "../../ui/display.tsx";
import { Table } from "../../ui/table.tsx";
import { hyperparametersOf, methodOf } from "../jobs/job_facts.ts";

/** A name and its value in each run; "–" if a run has none. */
type Fact = [name: string, values: string[]];

const maybe = <T,>(value: T | null | undefined, format: (value: T) => string) =>
  value === null || value === undefined ? "–" : format(value);

/** Enough of a file's ID to distinguish two files: an ID starts with the time and ends with random digits. */
const shorten = (id: string) => `…${id.slice(-8)}`;

export const runName = (job: Job): string => job.suffix ?? job.base_model;

/** Adds the time to names that two runs share, so that columns and curves are distinguishable. */
export function runNames(jobs: Job[]): string[] {
  return jobs.map((job) => {
    const isAmbiguous = jobs.filter((other) => runName(other) === runName(job)).length > 1;
    return isAmbiguous ? `${runName(job)}, ${formatTime(job.created_at)}` : runName(job);
  });
}

function resultsOf(jobs: Job[]): Fact[] {
  const scores = scoreNames.map((name): Fact => [
    evaluationScores[name].label,
    jobs.map(({ evaluation }) =>
      maybe(
        evaluation,
        ({ base, tuned }) => `${formatScore(name, tuned[name])} (base ${formatScore(name, base[name])})`,
      )
    ),
  ]).filter(([, values]) => values.some((value) => !/^–( |$)/.test(value)));
  return [
    ...scores,
    ["Training loss", jobs.map(({ training_loss }) => maybe(training_loss, formatNumber))],
    [
      "Steps",
      jobs.map(({ current_step, total_steps }) =>
        `${maybe(current_step, formatCompact)} of ${maybe(total_steps, formatCompact)}`
      ),
    ],
    ["Trained tokens", jobs.map(({ trained_tokens }) => maybe(trained_tokens, formatCompact))],
    ["Tokens per second", jobs.map(({ tokens_per_second }) => maybe(tokens_per_second, formatCompact))],
    [
      "Time",
      jobs.map(({ started_at, finished_at }) =>
        started_at === null ? "–" : maybe(finished_at, (end) => formatDuration(end - started_at))
      ),
    ],
    ["Cost", jobs.map(({ cost_usd }) => formatUsd(cost_usd))],
  ];
}

function settingsOf(jobs: Job[]): Fact[] {
  const own = jobs.map((job): Map<string, string> =>
    new Map([
      ["Model", job.model],
      ["Method", methodOf(job)],
      ["Training file", shorten(job.training_file)],
      ["Validation file", maybe(job.validation_file, shorten)],
      ...hyperparametersOf(job),
      ["Seed", String(job.seed)],
    ])
  );
  const names = [...new Set(own.flatMap((settings) => [...settings.keys()]))];
  return names.map((name) => [name, own.map((settings) => settings.get(name) ?? "–")]);
}

const differs = ([, values]: Fact) => new Set(values).size > 1;

export function ResultsTable({ jobs, onRemove }: { jobs: Job[]; onRemove: (id: string) => void }) {
  const names = runNames(jobs);
  return (
    <Table label="Results" columns={["Result", ...names]}>
      <tr>
        <th scope="row">Status</th>
        {jobs.map((job, n) => (
          <td key={job.id}>
            <Status value={job.status} />
            <div class="actions small">
              <a href={href(["jobs", job.id])}>
                Open <span class="unseen">{names[n]}</span>
              </a>
              <button type="button" class="small" onClick={() => onRemove(job.id)}>
                Remove <span class="unseen">{names[n]}</span>
              </button>
            </div>
          </td>
        ))}
      </tr>
      {resultsOf(jobs).map((fact) => <FactRow key={fact[0]} fact={fact} />)}
    </Table>
  );
}

export function SettingsTable({ jobs }: { jobs: Job[] }) {
  const [isShort, setIsShort] = useState(true);
  const settings = settingsOf(jobs);
  const different = settings.filter(differs);
  const shown = isShort && jobs.length > 1 ? different : settings;
  const names = runNames(jobs);
  const isMarked = !isShort && jobs.length > 1;
  return (
    <>
      <div class="page-head">
        <h2>Settings</h2>
        {jobs.length > 1 && (
          <label class="plain">
            <input
              type="checkbox"
              checked={isShort}
              onChange={(event) => setIsShort(event.currentTarget.checked)}
            />{" "}
            Only settings that differ
          </label>
        )}
      </div>
      {shown.length === 0
        ? <p class="quiet">These runs have the same settings.</p>
        : (
          <Table label="Settings" columns={["Setting", ...names]}>
            {shown.map((fact) => <FactRow key={fact[0]} fact={fact} isMarked={isMarked && differs(fact)} />)}
          </Table>
        )}
    </>
  );
}

const FactRow = ({ fact: [name, values], isMarked = false }: { fact: Fact; isMarked?: boolean }) => (
  <tr class={isMarked ? "differs" : ""}>
    <th scope="row">{name}</th>
    {values.map((value, n) => <td key={n}>{value}</td>)}
  </tr>
);
