/** The base and the fine-tuned model, compared at the end of the fine-tune. */
import {
  describeEvaluatedRows,
  scoreRows,
} from "../../../../supabase/functions/_shared/contracts/evaluation.ts";
import type { Job } from "../../lib/types.ts";
import { Table } from "../../ui/table.tsx";

export function EvaluationTable(
  { evaluation }: { evaluation: NonNullable<Job["evaluation"]> },
) {
  return (
    <>
      <h3>Evaluation</h3>
      <Table label="Evaluation" columns={["Score", "Base", "Fine-tuned"]}>
        {scoreRows(evaluation).map(({ label, base, tuned }) => (
          <tr key={label}>
            <th scope="row">{label}</th>
            <td>{base}</td>
            <td>{tuned}</td>
          </tr>
        ))}
      </Table>
      <p class="quiet">Evaluated: {describeEvaluatedRows(evaluation)}.</p>
    </>
  );
}
