/** GET /fine_tuning/jobs/{id}/metrics?points&from_step&to_step: what a chart of the whole run needs, downsampled in SQL. */
import * as z from "zod";
import { call } from "../../_shared/database.ts";
import type { Tables } from "../../_shared/database.types.ts";
import { check } from "../../_shared/validation.ts";
import type { ApiContext } from "../context.ts";
import { pathId } from "../ids.ts";

const step = z.coerce.number().int().min(0).max(2 ** 31 - 1);
export const Query = z.object({
  points: z.coerce.number().int().min(10).max(5000).default(500),
  from_step: step.optional(),
  to_step: step.optional(),
});

type Point = Omit<Tables<"metrics">, "job_id" | "project_id" | "created_at">;

export async function getMetrics(c: ApiContext): Promise<Response> {
  const id = pathId("job", c.req.param("id"), "job_not_found");
  const { points, from_step, to_step } = check(Query, c.req.query());
  const found = await call<{ last_event: number; points: Point[]; total: number }>(
    c.get("platform").sql,
    "get_job_metrics",
    { json: c.get("caller") },
    id,
    points,
    from_step ?? null,
    to_step ?? null,
  );
  const { last_event, total, points: data } = found;
  return c.json({ object: "fine_tuning.job.metrics" as const, last_event, total, data });
}
