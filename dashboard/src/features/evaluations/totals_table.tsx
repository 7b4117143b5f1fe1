/** The scores of an evaluation's models, side by side. */
import { formatCompact, formatCount, formatDuration, formatShare, formatUsd } from "../../lib/format.ts";
import type { Evaluation } from "../../lib/types.ts";
import { Table } from "../../ui/table.tsx";
import { scoresOf } from "./scores.ts";

/** Omits scores that no model has, for example those of JSON if no expected answer is JSON. */
export function TotalsTable({ evaluation }: { evaluation: Evaluation }) {
  const { totals } = evaluation;
  const scores = scoresOf(evaluation.graders).filter(({ valueOf }) =>
    totals.some((each) => valueOf(each) !== null)
  );
  return (
    <Table
      label="Scores"
      columns={["", ...totals.map(({ model }) => model)]}
    >
      {scores.map(({ label, valueOf }) => (
        <ScoreRow
          key={label}
          label={label}
          values={totals.map(valueOf)}
        />
      ))}
      <Row
        label="Answers"
        cells={totals.map(({ answered }) => formatCount(answered))}
      />
      {totals.some(({ failed }) => failed > 0) && (
        <Row
          label="Could not answer"
          cells={totals.map(({ failed }) => formatCount(failed))}
        />
      )}
      <Row
        label="Input and output tokens"
        cells={totals.map(({ prompt_tokens, completion_tokens }) =>
          `${formatCompact(prompt_tokens)}, ${formatCompact(completion_tokens)}`
        )}
      />
      <Row
        label="Inference time"
        cells={totals.map(({ seconds }) => formatDuration(seconds))}
      />
      <Row
        label="Cost"
        cells={totals.map(({ cost_usd }) => formatUsd(cost_usd))}
      />
    </Table>
  );
}

/** The best value is bold; a meter shows each. */
function ScoreRow(
  { label, values }: { label: string; values: (number | null)[] },
) {
  const best = Math.max(...values.map((value) => value ?? 0));
  const isTie = values.every((value) => value === best);
  return (
    <tr>
      <th scope="row">{label}</th>
      {values.map((value, n) => (
        <td key={n}>
          {value === best && !isTie ? <strong>{formatShare(value)}</strong> : formatShare(value)}
          {value !== null && <meter min={0} max={1} value={value} aria-label={label} />}
        </td>
      ))}
    </tr>
  );
}

const Row = ({ label, cells }: { label: string; cells: string[] }) => (
  <tr>
    <th scope="row">{label}</th>
    {cells.map((cell, n) => <td key={n}>{cell}</td>)}
  </tr>
);
