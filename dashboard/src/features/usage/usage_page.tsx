/** Cost, GPU time, tokens, jobs and inference per day in the user's time zone. */
import { useQuery } from "@tanstack/preact-query";
import { useMemo } from "preact/hooks";
import { type Schemas, unwrap } from "../../../../client/mod.ts";
import { formatCompact, formatCount, formatDuration, formatUsd, getTimeZone } from "../../lib/format.ts";
import { navigate, type PageProps } from "../../lib/router.ts";
import { getServices } from "../../lib/services.ts";
import { Chart } from "../../ui/chart.tsx";
import { FieldList } from "../../ui/display.tsx";
import { EmptyState, QueryBoundary } from "../../ui/feedback.tsx";
import { Page } from "../../ui/page.tsx";
import { Table } from "../../ui/table.tsx";
import { InferenceUsage } from "./inference_usage.tsx";

const periods = [7, 30, 90];
const dayMs = 86_400_000;
/** Today as `2026-11-30` in the user's time zone. */
const isoDay = (date: Date) => new Intl.DateTimeFormat("sv-SE", { dateStyle: "short" }).format(date);
const dayFormat = new Intl.DateTimeFormat(undefined, {
  day: "numeric",
  month: "short",
  timeZone: "UTC",
});
/** The API's days are dates without a time zone. */
const formatDay = (date: string) => dayFormat.format(new Date(date));

export function UsagePage({ route }: PageProps) {
  const days = periods.find((period) => String(period) === route.query.get("days")) ?? 30;
  const to = isoDay(new Date());
  const from = isoDay(new Date(Date.now() - (days - 1) * dayMs));
  const usage = useQuery({
    queryKey: ["usage", from, to],
    queryFn: async () =>
      unwrap(
        await getServices().api.GET("/usage", {
          params: { query: { from, to, time_zone: getTimeZone() } },
        }),
      ),
  });
  return (
    <Page title="Usage">
      <form class="filters" onSubmit={(event) => event.preventDefault()}>
        <label>
          Period{" "}
          <select
            value={days}
            onChange={(event) =>
              navigate(["usage"], { days: event.currentTarget.value }, {
                replace: true,
              })}
          >
            {periods.map((period) => <option key={period} value={period}>Last {period} days</option>)}
          </select>
        </label>
        <span class="quiet">{getTimeZone()}</span>
      </form>
      <QueryBoundary query={usage} what="usage">
        {({ total, data }) => (
          <>
            <section aria-label="Total">
              <FieldList
                fields={[
                  [
                    "Cost",
                    formatUsd(total.cost_usd + total.inference_cost_usd),
                  ],
                  ["Training", formatUsd(total.cost_usd)],
                  ["Inference", formatUsd(total.inference_cost_usd)],
                  ["GPU time", formatDuration(total.gpu_seconds)],
                  ["Trained tokens", formatCompact(total.trained_tokens)],
                  ["Jobs created", formatCount(total.jobs_created)],
                  ["Succeeded", formatCount(total.jobs_succeeded)],
                  ["Failed", formatCount(total.jobs_failed)],
                  ["Inference requests", formatCount(total.inference_requests)],
                  ["Input tokens", formatCompact(total.prompt_tokens)],
                  ["Output tokens", formatCompact(total.completion_tokens)],
                ]}
              />
            </section>
            {total.jobs_created === 0 && total.cost_usd === 0 &&
                total.inference_requests === 0
              ? (
                <EmptyState title="No usage in this period">
                  <p>
                    Cost, GPU time and tokens appear here once a job has run or a model has answered.
                  </p>
                </EmptyState>
              )
              : (
                <>
                  <InferenceUsage from={from} to={to} />
                  <UsageByDay data={data} />
                </>
              )}
          </>
        )}
      </QueryBoundary>
    </Page>
  );
}

type DayUsage = Schemas["Usage"]["data"][number];

function UsageByDay({ data }: { data: DayUsage[] }) {
  const x = useMemo(() => data.map((_, n) => n), [data]);
  const formatX = (n: number) => formatDay(data[Math.round(n)]?.date ?? data[0]?.date ?? "");
  const seriesOf = (
    name: "trained_tokens" | "completion_tokens",
  ) => [{ label: "", values: data.map((day) => day[name]) }];
  const active = data.filter((day) =>
    day.jobs_created + day.gpu_seconds + day.cost_usd + day.inference_requests >
      0
  ).toReversed();
  return (
    <>
      <section class="charts even">
        <Chart
          title="Cost per day"
          x={x}
          series={[{
            label: "",
            values: data.map((day) => day.cost_usd + day.inference_cost_usd),
          }]}
          format={formatUsd}
          formatX={formatX}
          bars
          fromZero
        />
        {data.some((day) => day.trained_tokens > 0) && (
          <Chart
            title="Trained tokens per day"
            x={x}
            series={seriesOf("trained_tokens")}
            format={formatCompact}
            formatX={formatX}
            bars
            fromZero
          />
        )}
        {data.some((day) => day.completion_tokens > 0) && (
          <Chart
            title="Output tokens per day"
            x={x}
            series={seriesOf("completion_tokens")}
            format={formatCompact}
            formatX={formatX}
            bars
            fromZero
          />
        )}
      </section>
      <Table
        label="Usage per day"
        columns={[
          "Day",
          "Training",
          "Inference",
          "GPU time",
          "Trained tokens",
          "Jobs created",
          "Succeeded",
          "Failed",
          "Cancelled",
          "Requests",
        ]}
      >
        {active.map((day) => (
          <tr key={day.date}>
            <th scope="row">{formatDay(day.date)}</th>
            <td class="number">{formatUsd(day.cost_usd)}</td>
            <td class="number">{formatUsd(day.inference_cost_usd)}</td>
            <td class="number">{formatDuration(day.gpu_seconds)}</td>
            <td class="number">{formatCompact(day.trained_tokens)}</td>
            <td class="number">{formatCount(day.jobs_created)}</td>
            <td class="number">{formatCount(day.jobs_succeeded)}</td>
            <td class="number">{formatCount(day.jobs_failed)}</td>
            <td class="number">{formatCount(day.jobs_cancelled)}</td>
            <td class="number">{formatCount(day.inference_requests)}</td>
          </tr>
        ))}
      </Table>
    </>
  );
}
