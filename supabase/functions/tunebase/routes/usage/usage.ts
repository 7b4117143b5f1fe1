/** GET /usage?from&to&time_zone: one row per day, from `from` through `to`. By default, the last thirty days. */
import * as z from "zod";
import { rpc } from "../../../_shared/database/rpc.ts";
import { ApiError } from "../../../_shared/errors.ts";
import { parseOrThrow } from "../../../_shared/validation.ts";
import type { ApiContext } from "../../context.ts";
import { defineRoute } from "../define.ts";

const date = z.iso.date("must be a date such as 2026-11-24");
export const Query = z.object({
  from: date.optional(),
  to: date.optional(),
  time_zone: z.string().default("UTC"),
});
const dayMs = 86_400_000;
const maxDays = 366;

const Day = z.object({
  date: z.string(),
  jobs_created: z.int(),
  jobs_succeeded: z.int(),
  jobs_failed: z.int(),
  jobs_cancelled: z.int(),
  trained_tokens: z.number(),
  gpu_seconds: z.number(),
  cost_usd: z.number(),
});
type Day = z.infer<typeof Day>;

async function getUsage(c: ApiContext): Promise<Response> {
  const query = parseOrThrow(Query, c.req.query());
  const to = query.to ?? today(query.time_zone);
  const from = query.from ?? new Date(Date.parse(to) - 29 * dayMs).toISOString().slice(0, 10);
  const days = (Date.parse(to) - Date.parse(from)) / dayMs + 1;
  if (days < 1 || days > maxDays) {
    throw new ApiError("invalid_request", [{
      param: "from",
      message:
        `from = ${from}, to = ${to}: from must not be after to, and the range must have at most ${maxDays} days.`,
    }]);
  }
  const args = { caller: c.get("caller"), from, to, time_zone: query.time_zone };
  const data = await rpc(c.get("platform").db, "get_usage_by_day", args, z.array(Day));
  const sum = (name: Exclude<keyof Day, "date">) => data.reduce((total, day) => total + day[name], 0);
  return c.json({
    object: "usage" as const,
    time_zone: query.time_zone,
    from,
    to,
    data,
    total: {
      jobs_created: sum("jobs_created"),
      jobs_succeeded: sum("jobs_succeeded"),
      jobs_failed: sum("jobs_failed"),
      jobs_cancelled: sum("jobs_cancelled"),
      trained_tokens: sum("trained_tokens"),
      gpu_seconds: round(sum("gpu_seconds"), 3),
      cost_usd: round(sum("cost_usd"), 6),
    },
  });
}

/** Removes floating-point noise from sums. */
const round = (value: number, digits: number) => Number(value.toFixed(digits));

/** Today's date in a time zone. */
function today(timeZone: string): string {
  try {
    return new Intl.DateTimeFormat("sv-SE", { timeZone, dateStyle: "short" }).format(new Date());
  } catch {
    throw ApiError.of("invalid_time_zone", { time_zone: timeZone, param: "time_zone" });
  }
}

export const routes = [
  defineRoute({
    method: "GET",
    path: "/usage",
    id: "getUsage",
    summary: "Get jobs, tokens, GPU time and cost per day",
    scope: "jobs:read",
    query: Query,
    response: "Usage",
    errors: ["invalid_time_zone"],
    handler: getUsage,
  }),
];
