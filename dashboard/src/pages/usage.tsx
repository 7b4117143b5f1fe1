/** Jobs, tokens, GPU time and cost, by day of the viewer's zone. */
import { useQuery } from "@tanstack/preact-query";
import { useMemo } from "preact/hooks";
import { unwrap } from "../../../client/mod.ts";
import type { PageProps } from "../app.tsx";
import { count, duration, short, timeZone, usd } from "../format.ts";
import { go } from "../router.ts";
import { use } from "../services.ts";
import { Empty, Facts, Loaded, Page, Table } from "../ui/basics.tsx";
import { Chart } from "../ui/chart.tsx";

const spans = [7, 30, 90];
const day = (date: Date) => new Intl.DateTimeFormat("sv-SE", { dateStyle: "short" }).format(date);
const shown = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", timeZone: "UTC" });
/** A day of the API's: a date without a zone. */
const named = (date: string) => shown.format(new Date(date));

export function UsagePage({ route }: PageProps) {
  const days = spans.find((span) => String(span) === route.query.get("days")) ?? 30;
  const to = day(new Date());
  const from = day(new Date(Date.now() - (days - 1) * 86_400_000));
  const usage = useQuery({
    queryKey: ["usage", from, to],
    queryFn: async () =>
      unwrap(await use().api.GET("/usage", { params: { query: { from, to, time_zone: timeZone() } } })),
  });
  return (
    <Page title="Usage">
      <form class="filters" onSubmit={(event) => event.preventDefault()}>
        <label>
          Days{" "}
          <select
            value={days}
            onChange={(event) => go(["usage"], { days: event.currentTarget.value }, true)}
          >
            {spans.map((span) => <option key={span} value={span}>the last {span}</option>)}
          </select>
        </label>
        <span class="quiet">in {timeZone()}</span>
      </form>
      <Loaded of={usage}>
        {({ total, data }) => (
          <>
            <section aria-label="Sum">
              <Facts
                of={[
                  ["Cost", usd(total.cost_usd)],
                  ["GPU time", duration(total.gpu_seconds)],
                  ["Tokens trained", short(total.trained_tokens)],
                  ["Jobs created", count(total.jobs_created)],
                  ["Succeeded", count(total.jobs_succeeded)],
                  ["Failed", count(total.jobs_failed)],
                ]}
              />
            </section>
            {total.jobs_created === 0 && total.cost_usd === 0
              ? (
                <Empty>
                  <p>Nothing was used in these days.</p>
                </Empty>
              )
              : <Days data={data} />}
          </>
        )}
      </Loaded>
    </Page>
  );
}

interface Day {
  date: string;
  jobs_created: number;
  jobs_succeeded: number;
  jobs_failed: number;
  jobs_cancelled: number;
  trained_tokens: number;
  gpu_seconds: number;
  cost_usd: number;
}

function Days({ data }: { data: Day[] }) {
  const x = useMemo(() => data.map((_, n) => n), [data]);
  const show = (n: number) => named(data[Math.round(n)]?.date ?? data[0]?.date ?? "");
  const column = (
    name: "cost_usd" | "trained_tokens",
  ) => [{ label: "", values: data.map((day) => day[name]) }];
  const used = data.filter((day) => day.jobs_created + day.gpu_seconds + day.cost_usd > 0).toReversed();
  return (
    <>
      <section class="charts even">
        <Chart title="Cost by day" x={x} series={column("cost_usd")} show={usd} showX={show} bars fromZero />
        <Chart
          title="Tokens trained by day"
          x={x}
          series={column("trained_tokens")}
          show={short}
          showX={show}
          bars
          fromZero
        />
      </section>
      <Table
        label="Usage by day"
        head={["Day", "Cost", "GPU time", "Tokens", "Created", "Succeeded", "Failed", "Cancelled"]}
      >
        {used.map((day) => (
          <tr key={day.date}>
            <th scope="row">{named(day.date)}</th>
            <td class="number">{usd(day.cost_usd)}</td>
            <td class="number">{duration(day.gpu_seconds)}</td>
            <td class="number">{short(day.trained_tokens)}</td>
            <td class="number">{day.jobs_created}</td>
            <td class="number">{day.jobs_succeeded}</td>
            <td class="number">{day.jobs_failed}</td>
            <td class="number">{day.jobs_cancelled}</td>
          </tr>
        ))}
      </Table>
    </>
  );
}
