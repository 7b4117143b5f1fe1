/** Cost, GPU time, tokens and jobs per day in the user's time zone. */
import { useQuery } from "@tanstack/preact-query";
import { useMemo } from "preact/hooks";
import { unwrap } from "../../../../client/mod.ts";
import { formatCompact, formatCount, formatDuration, formatUsd, getTimeZone } from "../../lib/format.ts";
import { navigate, type PageProps } from "../../lib/router.ts";
import { getServices } from "../../lib/services.ts";
import { Chart } from "../../ui/chart.tsx";
import { FieldList } from "../../ui/display.tsx";
import { EmptyState, QueryBoundary } from "../../ui/feedback.tsx";
import { Page } from "../../ui/page.tsx";
import { Table } from "../../ui/table.tsx";

const periods = [7, 30, 90];
const dayMs = 86_400_000;
/** `2026-11-30` in the user's time zone. */
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
                  ["Cost", formatUsd(total.cost_usd)],
                  ["GPU time", formatDuration(total.gpu_seconds)],
                  ["Trained tokens", formatCompact(total.trained_tokens)],
                  ["Jobs created", formatCount(total.jobs_created)],
                  ["Succeeded", formatCount(total.jobs_succeeded)],
                  ["Failed", formatCount(total.jobs_failed)],
                ]}
              />
            </section>
            {total.jobs_created === 0 && total.cost_usd === 0
              ? (
                <EmptyState title="No usage in this period">
                  <p>
                    Cost, GPU time and trained tokens appear here once a job has run.
                  </p>
                </EmptyState>
              )
              : <UsageByDay data={data} />}
          </>
        )}
      </QueryBoundary>
    </Page>
  );
}

interface DayUsage {
  date: string;
  jobs_created: number;
  jobs_succeeded: number;
  jobs_failed: number;
  jobs_cancelled: number;
  trained_tokens: number;
  gpu_seconds: number;
  cost_usd: number;
}

function UsageByDay({ data }: { data: DayUsage[] }) {
  const x = useMemo(() => data.map((_, n) => n), [data]);
  const formatX = (n: number) => formatDay(data[Math.round(n)]?.date ?? data[0]?.date ?? "");
  const seriesOf = (
    name: "cost_usd" | "trained_tokens",
  ) => [{ label: "", values: data.map((day) => day[name]) }];
  const active = data.filter((day) => day.jobs_created + day.gpu_seconds + day.cost_usd > 0).toReversed();
  return (
    <>
      <section class="charts even">
        <Chart
          title="Cost per day"
          x={x}
          series={seriesOf("cost_usd")}
          format={formatUsd}
          formatX={formatX}
          bars
          fromZero
        />
        <Chart
          title="Trained tokens per day"
          x={x}
          series={seriesOf("trained_tokens")}
          format={formatCompact}
          formatX={formatX}
          bars
          fromZero
        />
      </section>
      <Table
        label="Usage per day"
        columns={[
          "Day",
          "Cost",
          "GPU time",
          "Tokens",
          "Created",
          "Succeeded",
          "Failed",
          "Cancelled",
        ]}
      >
        {active.map((day) => (
          <tr key={day.date}>
            <th scope="row">{formatDay(day.date)}</th>
            <td class="number">{formatUsd(day.cost_usd)}</td>
            <td class="number">{formatDuration(day.gpu_seconds)}</td>
            <td class="number">{formatCompact(day.trained_tokens)}</td>
            <td class="number">{formatCount(day.jobs_created)}</td>
            <td class="number">{formatCount(day.jobs_succeeded)}</td>
            <td class="number">{formatCount(day.jobs_failed)}</td>
            <td class="number">{formatCount(day.jobs_cancelled)}</td>
          </tr>
        ))}
      </Table>
    </>
  );
}
