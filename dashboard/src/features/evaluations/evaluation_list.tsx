/** The project's evaluations, of one model or of all. */
import { formatCount, formatShare } from "../../lib/format.ts";
import { useModels, usePermission } from "../../lib/queries.ts";
import { href, navigate, type PageProps } from "../../lib/router.ts";
import { getServices } from "../../lib/services.ts";
import type { Evaluation } from "../../lib/types.ts";
import { CodeBlock, Status, Time } from "../../ui/display.tsx";
import { EmptyState, QueryBoundary } from "../../ui/feedback.tsx";
import { Page } from "../../ui/page.tsx";
import { LoadMore, Table } from "../../ui/table.tsx";
import { describeProgress, useEvaluations } from "./evaluation_queries.ts";

export function EvaluationList({ route }: PageProps) {
  const model = route.query.get("model") ?? "";
  const canCreate = usePermission("inference");
  const evaluations = useEvaluations(model === "" ? {} : { model });
  const models = useModels();
  return (
    <Page
      title="Evaluations"
      actions={canCreate && (
        <a
          class="button primary"
          href={href(["evaluations", "new"], { model })}
        >
          New evaluation
        </a>
      )}
    >
      <form
        class="filters"
        role="search"
        onSubmit={(event) => event.preventDefault()}
      >
        <label>
          Model{" "}
          <select
            value={model}
            onChange={(event) =>
              navigate(["evaluations"], { model: event.currentTarget.value }, {
                replace: true,
              })}
          >
            <option value="">All</option>
            {[...models.data?.fineTuned ?? [], ...models.data?.base ?? []].map((
              { id },
            ) => <option key={id} value={id}>{id}</option>)}
          </select>
        </label>
      </form>
      <QueryBoundary query={evaluations} what="evaluations">
        {(list) =>
          list.length === 0
            ? model === ""
              ? <NoEvaluations canCreate={canCreate} />
              : (
                <EmptyState title="No evaluations of this model">
                  <a href={href(["evaluations"])}>Show all evaluations</a>
                </EmptyState>
              )
            : (
              <>
                <EvaluationTable evaluations={list} />
                <LoadMore query={evaluations} />
              </>
            )}
      </QueryBoundary>
    </Page>
  );
}

export const EvaluationTable = (
  { evaluations }: { evaluations: Evaluation[] },
) => (
  <Table
    label="Evaluations"
    columns={["Evaluation", "Status", "Rows", "Exact match", "Created"]}
  >
    {evaluations.map((evaluation) => (
      <tr key={evaluation.id}>
        <th scope="row">
          <a href={href(["evaluations", evaluation.id])}>{evaluation.name}</a>
        </th>
        <td>
          <Status value={evaluation.status} />
          {evaluation.status === "running" && <div class="quiet small">{describeProgress(evaluation)}</div>}
        </td>
        <td class="number">{formatCount(evaluation.rows)}</td>
        <td>
          <ul class="plain">
            {evaluation.totals.map(({ model, exact_match }) => (
              <li key={model}>
                <strong class="share">{formatShare(exact_match)}</strong>{" "}
                <span class="quiet small model">{model}</span>
              </li>
            ))}
          </ul>
        </td>
        <td>
          <Time at={evaluation.created_at} />
        </td>
      </tr>
    ))}
  </Table>
);

const NoEvaluations = ({ canCreate }: { canCreate: boolean }) => (
  <EmptyState title="No evaluations yet">
    <p>
      An evaluation sends the prompts of a held-out file to a fine-tuned model and its base, and compares the
      answers with the expected ones. You see each model's scores and every row where the answers differ.
    </p>
    {canCreate && (
      <a class="button primary" href={href(["evaluations", "new"])}>
        Create your first evaluation
      </a>
    )}
    <CodeBlock
      label="Or with the API"
      text={`curl ${getServices().config.apiUrl}/evaluations \\
  -H "authorization: Bearer $TUNEBASE_API_KEY" -H "content-type: application/json" \\
  -d '{"models": ["ft:…", "SmolLM2-135M-Instruct"], "file": "file-…"}'`}
    />
  </EmptyState>
);
