/** GET /fine_tuning/jobs/{id}/metrics?points&from_step&to_step: the metrics of a run for charts, downsampled in SQL. */
import * as z from "zod";
import { rpc } from "../../../_shared/database/rpc.ts";
import { parseOrThrow } from "../../../_shared/validation.ts";
import type { ApiContext } from "../../context.ts";
import { pathId } from "../../ids.ts";
import { MetricRow } from "../../rows.ts";
import { defineRoute } from "../define.ts";

const step = z.coerce.number().int().min(0).max(2 ** 31 - 1);
export const Query = z.object({
  points: z.coerce.number().int().min(10).max(5000).default(500),
  from_step: step.optional(),
  to_step: step.optional(),
});

const Chart = z.object({ last_event: z.int(), total: z.int(), points: z.array(MetricRow) });

async function getMetrics(c: ApiContext): Promise<Response> {
  const id = pathId("job", c.req.param("id"), "job_not_found");
  const { points, from_step, to_step } = parseOrThrow(Query, c.req.query());
  const { last_event, total, points: data } = await rpc(c.get("platform").db, "get_job_metrics", {
    caller: c.get("caller"),
    job_id: id,
    points,
    from_step: from_step ?? null,
    to_step: to_step ?? null,
  }, Chart);
  return c.json({ object: "fine_tuning.job.metrics" as const, last_event, total, data });
}

export const routes = [
  defineRoute({
    method: "GET",
    path: "/fine_tuning/jobs/{id}/metrics",
    id: "getJobMetrics",
    summary: "Get a job's metrics for charting",
    description: "Covers the whole run, downsampled to `points`; spikes and endpoints are preserved.",
    scope: "jobs:read",
    query: Query,
    response: "Metrics",
    errors: ["job_not_found"],
    handler: getMetrics,
  }),
];
