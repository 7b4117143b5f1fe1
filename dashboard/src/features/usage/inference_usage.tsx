/** Requests, tokens and cost of inference by model or API key. */
import { useQuery } from "@tanstack/preact-query";
import { useState } from "preact/hooks";
import { unwrap } from "../../../../client/mod.ts";
import { formatCompact, formatCount, formatDuration, formatUsd, getTimeZone } from "../../lib/format.ts";
import { href } from "../../lib/router.ts";
import { getServices } from "../../lib/services.ts";
import { QueryBoundary } from "../../ui/feedback.tsx";
import { Table } from "../../ui/table.tsx";

const groupings = { model: "Model", api_key: "API key" } as const;
type Grouping = keyof typeof groupings;

export function InferenceUsage({ from, to }: { from: string; to: string }) {
  const [groupBy, setGroupBy] = useState<Grouping>("model");
  const usage = useQuery({
    queryKey: ["usage", "inference", from, to, groupBy],
    queryFn: async () =>
      unwrap(
        await getServices().api.GET("/usage/inference", {
          params: {
            query: { from, to, time_zone: getTimeZone(), group_by: groupBy },
          },
        }),
      ),
  });
  return (
    <section aria-labelledby="inference">
      <div class="page-head">
        <h2 id="inference">Inference</h2>
        <label>
          By{" "}
          <select
            value={groupBy}
            onChange={(event) =>
              setGroupBy(
                event.currentTarget.value === "api_key" ? "api_key" : "model",
              )}
          >
            {Object.entries(groupings).map(([value, label]) => (
              <option key={value} value={value}>{label}</option>
            ))}
          </select>
        </label>
      </div>
      <QueryBoundary query={usage} what="inference">
        {({ data, group_by }) =>
          data.length === 0
            ? (
              <p class="quiet">
                No requests in this period. Ask a model in the{" "}
                <a href={href(["playground"])}>playground</a>, or call it from your code.
              </p>
            )
            : (
              <Table
                label={`Inference by ${group_by === "model" ? "model" : "API key"}`}
                columns={[
                  groupings[group_by],
                  "Cost",
                  "Requests",
                  "Input tokens",
                  "Output tokens",
                  "Inference time",
                ]}
              >
                {data.map((row) => (
                  <tr key={row.model ?? row.api_key_id ?? ""}>
                    <th scope="row">
                      {group_by === "model" ? row.model : row.api_key_name ?? "Signed-in users"}
                    </th>
                    <td class="number">{formatUsd(row.cost_usd)}</td>
                    <td class="number">{formatCount(row.requests)}</td>
                    <td class="number">{formatCompact(row.prompt_tokens)}</td>
                    <td class="number">
                      {formatCompact(row.completion_tokens)}
                    </td>
                    <td class="number">{formatDuration(row.seconds)}</td>
                  </tr>
                ))}
              </Table>
            )}
      </QueryBoundary>
    </section>
  );
}
