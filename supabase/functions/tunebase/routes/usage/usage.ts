/**
 * GET /usage?from&to&time_zone: one row per day, from `from` through `to`. By default, the last thirty days. GET
 * /usage/inference?group_by: inference in the same period, by model or API key.
 */
import * as z from "zod";
import { rpc } from "../../../_shared/database/rpc.ts";
import { ApiError } from "../../../_shared/errors.ts";
import { parseOrThrow } from "../../../_shared/validation.ts";
import type { ApiContext } from "../../context.ts";
import { publicId } from "../../ids.ts";
import { defineRoute } from "../define.ts";

const date = z.iso.date("must be a date such as 2026-11-24");
export const Query = z.object({
  from: date.optional(),
  to: date.optional(),
  time_zone: z.string().default("UTC"),
});
const dayMs = 86_400_000;
const maxDays = 366;

const InferenceQuery = Query.extend({ group_by: z.enum(["model", "api_key"]).default("model") });

const Day = z.object({
  date: z.string(),
  jobs_created: z.int(),
  jobs_succeeded: z.int(),
  jobs_failed: z.int(),
  jobs_cancelled: z.int(),
  trained_tokens: z.number(),
  gpu_seconds: z.number(),
  cost_usd: z.number(),
  inference_requests: z.int(),
  prompt_tokens: z.number(),
  completion_tokens: z.number(),
  inference_cost_usd: z.number(),
});

const Called = z.object({
  model: z.string().nullable(),
  api_key_id: z.string().nullable(),
  api_key_name: z.string().nullable(),
  requests: z.int(),
  prompt_tokens: z.number(),
  completion_tokens: z.number(),
  seconds: z.number(),
  cost_usd: z.number(),
});

const daySums = [
  "jobs_created",
  "jobs_succeeded",
  "jobs_failed",
  "jobs_cancelled",
  "trained_tokens",
  "gpu_seconds",
  "cost_usd",
  "inference_requests",
  "prompt_tokens",
  "completion_tokens",
  "inference_cost_usd",
] as const satisfies (keyof z.infer<typeof Day>)[];
const callSums = [
  "requests",
  "prompt_tokens",
  "completion_tokens",
  "seconds",
  "cost_usd",
] as const satisfies (
  keyof z.infer<typeof Called>
)[];

async function getUsage(c: ApiContext): Promise<Response> {
  const period = readPeriod(parseOrThrow(Query, c.req.query()));
  const data = await rpc(
    c.get("platform").db,
    "get_usage_by_day",
    { caller: c.get("caller"), ...period },
    z.array(Day),
  );
  return c.json({ object: "usage" as const, ...period, data, total: total(data, daySums) });
}

async function getInferenceUsage(c: ApiContext): Promise<Response> {
  const query = parseOrThrow(InferenceQuery, c.req.query());
  const args = { ...readPeriod(query), group_by: query.group_by };
  const rows = await rpc(
    c.get("platform").db,
    "get_inference_usage",
    { caller: c.get("caller"), ...args },
    z.array(Called),
  );
  const data = rows.map(({ api_key_id, ...row }) => ({
    ...row,
    api_key_id: api_key_id === null ? null : publicId("apiKey", api_key_id),
  }));
  return c.json({ object: "usage.inference" as const, ...args, data, total: total(rows, callSums) });
}

/** The days of a query; by default, the last thirty. */
function readPeriod(query: z.infer<typeof Query>) {
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
  return { from, to, time_zone: query.time_zone };
}

/** The sums of some of the rows' numbers, without floating-point noise. */
function total<Name extends string>(rows: Record<Name, number>[], names: readonly Name[]) {
  return Object.fromEntries(
    names.map((name) => [name, Number(rows.reduce((sum, row) => sum + row[name], 0).toFixed(9))]),
  );
}

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
    summary: "Get jobs, inference, tokens, GPU time and cost per day",
    scope: "jobs:read",
    query: Query,
    response: "Usage",
    errors: ["invalid_time_zone"],
    handler: getUsage,
  }),
  defineRoute({
    method: "GET",
    path: "/usage/inference",
    id: "getInferenceUsage",
    summary: "Get requests, tokens and cost of inference by model or API key",
    scope: "jobs:read",
    query: InferenceQuery,
    response: "InferenceUsage",
    errors: ["invalid_time_zone"],
    handler: getInferenceUsage,
  }),
];
