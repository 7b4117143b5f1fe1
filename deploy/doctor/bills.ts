/** RunPod's bill per endpoint and day, next to what Tunebase charged projects for the same time. */
import * as z from "zod";
import { pluralize } from "../../cli/terminal/format.ts";
import { type Check, type CheckGroup, ok, warning } from "./check.ts";
import { commandLine } from "../sources.ts";
import type { Installation } from "./installation.ts";

export interface BillLine {
  /** In UTC, as RunPod bills: `2026-11-30`. */
  day: string;
  endpoint: string;
  kind: "training" | "inference";
  runpodUsd: number;
  tunebaseUsd: number;
}

export interface Bill {
  lines: BillLine[];
  runpodUsd: number;
  tunebaseUsd: number;
}

/**
 * How far the totals may differ. RunPod bills a worker from its start, Tunebase from its claim: with short jobs, cold starts
 * and idle time are up to a quarter of the bill. In the other direction, only rounding and day boundaries differ.
 */
export const tolerance = { under: 0.25, over: 0.05, usd: 1 };
const dayMs = 86_400_000;
const checkedDays = 7;
const billsCommand = commandLine("doctor --bills");

const Charged = z.array(z.object({
  day: z.string(),
  endpoint: z.string(),
  kind: z.enum(["training", "inference"]),
  usd: z.coerce.number(),
}));

/**
 * The bill from the start of the UTC day `from` (inclusive) to the start of `to` (exclusive). A run's cost is divided among
 * the days on which it ran. Inference is counted at the operator's prices, which can differ from the GPU's cost.
 */
export async function loadBill(installation: Installation, from: Date, to: Date): Promise<Bill> {
  const { runpod, supabase, state } = installation;
  const [records, charged] = await Promise.all([
    runpod.billing(from, to),
    supabase.query(chargedSql(from, to), Charged),
  ]);
  const lines = new Map<string, BillLine>();
  const inference = new Set(Object.values(state.inferenceEndpoints));
  const ours = new Set([state.trainerEndpoint, ...inference, ...charged.map(({ endpoint }) => endpoint)]);
  const line = (day: string, endpoint: string, kind: BillLine["kind"]): BillLine => {
    const key = `${day} ${endpoint}`;
    const found = lines.get(key) ?? { day, endpoint, kind, runpodUsd: 0, tunebaseUsd: 0 };
    lines.set(key, found);
    return found;
  };
  for (const { day, endpoint, kind, usd } of charged) line(day, endpoint, kind).tunebaseUsd += usd;
  for (const { serverlessId, startTime, totalAmount } of records) {
    const time = Date.parse(startTime);
    // The account may have endpoints that belong to other applications.
    if (!ours.has(serverlessId) || time < from.getTime() || time >= to.getTime()) continue;
    const kind = inference.has(serverlessId) ? "inference" : "training";
    line(new Date(time).toISOString().slice(0, 10), serverlessId, kind).runpodUsd += totalAmount;
  }
  const sorted = [...lines.values()].sort((a, b) =>
    a.day.localeCompare(b.day) || a.endpoint.localeCompare(b.endpoint)
  );
  return {
    lines: sorted,
    runpodUsd: sum(sorted.map(({ runpodUsd }) => runpodUsd)),
    tunebaseUsd: sum(sorted.map(({ tunebaseUsd }) => tunebaseUsd)),
  };
}

function chargedSql(from: Date, to: Date): string {
  const range = `'${from.toISOString()}'::timestamptz as since, '${to.toISOString()}'::timestamptz as until`;
  return `with period as (select ${range}), runs as (
    select endpoint_id, cost_usd, started_at, greatest(coalesce(ended_at, now()), started_at + interval '1 ms') as ended_at
    from tunebase.attempts, period
    where started_at < until and (ended_at >= since or ended_at is null) and cost_usd > 0
  )
  select to_char(d.day at time zone 'utc', 'YYYY-MM-DD') as day, r.endpoint_id as endpoint, 'training' as kind,
    sum(r.cost_usd * (extract(epoch from least(r.ended_at, d.day + interval '1 day') - greatest(r.started_at, d.day))
      / extract(epoch from r.ended_at - r.started_at)))::float8 as usd
  from period p
  cross join generate_series(p.since, p.until - interval '1 ms', interval '1 day') as d (day)
  join runs r on r.started_at < d.day + interval '1 day' and r.ended_at > d.day
  group by 1, 2
  union all
  select to_char(i.created_at at time zone 'utc', 'YYYY-MM-DD'), m.inference_endpoint_id, 'inference', sum(i.cost_usd)::float8
  from period p
  join tunebase.inference_requests i on i.id >= tunebase_internal.uuid7_lower_bound(p.since)
    and i.id < tunebase_internal.uuid7_lower_bound(p.until)
  join tunebase.base_models m on m.id = i.base_model
  where m.inference_endpoint_id is not null and i.status <> 'open'
  group by 1, 2
  order by 1, 2`;
}

/** The start of the UTC day, `days` before that of `now`. */
export function dayStart(now: Date, days = 0): Date {
  return new Date(Math.floor(now.getTime() / dayMs) * dayMs - days * dayMs);
}

/** Checks that RunPod's bill for training agrees with the cost that Tunebase counted. */
export function judge({ lines }: Pick<Bill, "lines">): Check {
  const training = lines.filter(({ kind }) => kind === "training");
  const billed = sum(training.map(({ runpodUsd }) => runpodUsd));
  const counted = sum(training.map(({ tunebaseUsd }) => tunebaseUsd));
  const found = `training over ${pluralize(checkedDays, "day")}: RunPod billed ${
    usd(billed)
  }, Tunebase counted ${usd(counted)} (${difference(billed, counted)})`;
  if (billed > counted * (1 + tolerance.under) + tolerance.usd) {
    return warning(
      "bills",
      found,
      `See \`${billsCommand}\`. Idle or crash-looping workers and a price below RunPod's are the usual causes: projects spend more than their caps show.`,
    );
  }
  if (counted > billed * (1 + tolerance.over) + tolerance.usd) {
    return warning(
      "bills",
      found,
      `See \`${billsCommand}\`. The price in tunebase.base_models.gpu_config is that of the most expensive GPU pool, so that spend caps hold. To count less, allow only cheaper pools: \`${
        commandLine("deploy --gpu POOL,…")
      }\`.`,
    );
  }
  return ok("bills", found);
}

/** Compares the last seven complete days. */
export const billChecks: CheckGroup = {
  id: "bills",
  async run(installation) {
    const to = dayStart(new Date());
    return [judge(await loadBill(installation, dayStart(to, checkedDays), to))];
  },
};

/** Rows for a table: a heading, one line per endpoint and day, and the totals. */
export function billTable({ lines, runpodUsd, tunebaseUsd }: Bill): string[][] {
  const row = (name: string[], billed: number, counted: number) => [
    ...name,
    usd(billed),
    usd(counted),
    difference(billed, counted),
  ];
  return [
    ["DAY", "ENDPOINT", "USE", "RUNPOD", "TUNEBASE", "DIFFERENCE"],
    ...lines.map((line) => row([line.day, line.endpoint, line.kind], line.runpodUsd, line.tunebaseUsd)),
    row(["total", "", ""], runpodUsd, tunebaseUsd),
  ];
}

const usd = (amount: number) => `$${amount.toFixed(2)}`;
const sum = (numbers: number[]) => numbers.reduce((total, number) => total + number, 0);

function difference(billed: number, counted: number): string {
  const amount = billed - counted;
  const sign = Math.abs(amount) < 0.005 ? "" : amount > 0 ? "+" : "−";
  const share = counted === 0 ? "" : `, ${sign}${Math.abs(Math.round(amount / counted * 100))}%`;
  return `${sign}${usd(Math.abs(amount))}${share}`;
}
