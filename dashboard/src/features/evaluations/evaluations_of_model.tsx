/** A fine-tuned model's evaluations, on its job's page. */
import { EvaluationTable } from "./evaluation_list.tsx";
import { useEvaluations } from "./evaluation_queries.ts";
import { href } from "../../lib/router.ts";

export function EvaluationsOfModel({ model }: { model: string }) {
  const { data, hasNextPage } = useEvaluations({ model });
  if (data === undefined || data.length === 0) return null;
  return (
    <section aria-labelledby="evaluations">
      <h2 id="evaluations">Evaluations</h2>
      <EvaluationTable evaluations={data} />
      {hasNextPage && <a href={href(["evaluations"], { model })}>Show all evaluations</a>}
    </section>
  );
}
