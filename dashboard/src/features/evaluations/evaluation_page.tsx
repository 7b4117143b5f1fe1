/** One evaluation: progress, each model's scores, and the rows. */
import { useQueryClient } from "@tanstack/preact-query";
import type { ComponentChildren } from "preact";
import { unwrap } from "../../../../client/mod.ts";
import { graderName } from "../../../../supabase/functions/_shared/contracts/evaluation.ts";
import { formatCount, formatUsd } from "../../lib/format.ts";
import { useApiMutation, usePermission } from "../../lib/queries.ts";
import { href, navigate } from "../../lib/router.ts";
import { getServices } from "../../lib/services.ts";
import type { Evaluation } from "../../lib/types.ts";
import { ActionButton } from "../../ui/action_button.tsx";
import { CopyButton, FieldList, Status, Time } from "../../ui/display.tsx";
import { QueryBoundary } from "../../ui/feedback.tsx";
import { Page } from "../../ui/page.tsx";
import { describeProgress, evaluationKey, useEvaluation } from "./evaluation_queries.ts";
import { Rows } from "./rows_view.tsx";
import { TotalsTable } from "./totals_table.tsx";

export function EvaluationPage({ id }: { id: string }) {
  const evaluation = useEvaluation(id);
  return (
    <Page
      title={evaluation.data?.name ?? "Evaluation"}
      actions={evaluation.data && <EvaluationActions evaluation={evaluation.data} />}
    >
      <p class="quiet small">
        <a href={href(["evaluations"])}>Evaluations</a> / <code>{id}</code>{" "}
        <CopyButton text={id} label="Copy ID" />
      </p>
      <QueryBoundary query={evaluation} what="the evaluation">
        {(evaluation) => (
          <>
            <section aria-labelledby="scores">
              <h2 id="scores">Scores</h2>
              <Progress evaluation={evaluation} />
              <TotalsTable evaluation={evaluation} />
            </section>
            <Rows evaluation={evaluation} />
            <Details evaluation={evaluation} />
          </>
        )}
      </QueryBoundary>
    </Page>
  );
}

function Progress({ evaluation }: { evaluation: Evaluation }) {
  const { status, error, answered, rows, models } = evaluation;
  return (
    <>
      <p>
        <Status value={status} />{" "}
        <span class="quiet small" role="status">
          {status !== "succeeded" && describeProgress(evaluation)}
        </span>
      </p>
      {status === "running" && (
        <progress
          max={rows * models.length}
          value={answered}
          aria-label="Answers"
        />
      )}
      {error !== null && (
        <p class="problem">
          {error.message}
          <br />
          <span class="quiet small">{error.code}</span>
        </p>
      )}
    </>
  );
}

function Details({ evaluation }: { evaluation: Evaluation }) {
  const {
    file,
    file_rows,
    rows,
    graders,
    temperature,
    max_completion_tokens,
    seed,
    totals,
  } = evaluation;
  const cost = totals.reduce((sum, { cost_usd }) => sum + cost_usd, 0);
  const fields: [string, ComponentChildren][] = [
    [
      "File",
      <a key="file" href={href(["files", file])}>{file.slice(0, 14)}…</a>,
    ],
    ["Rows", `${formatCount(rows)} of ${formatCount(file_rows)}`],
    ["Cost", formatUsd(cost)],
    ["Temperature", String(temperature)],
    ["Max tokens per answer", formatCount(max_completion_tokens)],
    ["Seed", String(seed)],
    ["Created", <Time key="created" at={evaluation.created_at} />],
    ["Finished", <Time key="finished" at={evaluation.finished_at} />],
    ...Object.entries(evaluation.metadata),
  ];
  return (
    <section aria-labelledby="settings">
      <h2 id="settings">Settings</h2>
      <FieldList fields={fields} />
      {graders.length > 0 && <p>Also checked: {graders.map(graderName).join(", ")}.</p>}
    </section>
  );
}

function EvaluationActions({ evaluation }: { evaluation: Evaluation }) {
  const canEdit = usePermission("inference");
  const cache = useQueryClient();
  const { id, models, file, status, name } = evaluation;
  const cancel = useApiMutation(
    async () =>
      unwrap(
        await getServices().api.POST("/evaluations/{id}/cancel", {
          params: { path: { id } },
        }),
      ),
    [evaluationKey(id), ["evaluations"]],
  );
  const remove = useApiMutation(async () => {
    unwrap(
      await getServices().api.DELETE("/evaluations/{id}", {
        params: { path: { id } },
      }),
    );
    cache.removeQueries({ queryKey: evaluationKey(id) });
    navigate(["evaluations"]);
  }, [["evaluations"]]);
  if (!canEdit) return null;
  const [model = "", compare = ""] = models;
  return (
    <>
      {status !== "running" && (
        <a
          class="button"
          href={href(["evaluations", "new"], { model, compare, file })}
        >
          Run again
        </a>
      )}
      {status === "running"
        ? (
          <ActionButton
            mutation={cancel}
            label="Cancel evaluation"
            danger
            confirmation={{
              text: "Answers so far are kept and billed. No further requests are made.",
              confirm: "Cancel evaluation",
              dismiss: "Keep running",
            }}
          />
        )
        : (
          <ActionButton
            mutation={remove}
            label="Delete"
            danger
            confirmation={{
              text: `This permanently deletes ${name}, its rows and its answers.`,
              confirm: "Delete evaluation",
            }}
          />
        )}
    </>
  );
}
