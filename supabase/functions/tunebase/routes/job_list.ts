/** GET /fine_tuning/jobs?after&limit&metadata[k]=v, newest first; and by status, model and time of creation. */
import * as z from "zod";
import { call } from "../../_shared/database.ts";
import { jobStatuses } from "../../_shared/job_words.ts";
import { check } from "../../_shared/validation.ts";
import type { ApiContext } from "../context.ts";
import { cursor } from "../ids.ts";
import { paging } from "../paging.ts";
import { type JobRow, type Page, renderJob, renderList } from "../render.ts";

const time = z.coerce.number("must be a time in Unix seconds").min(0).max(4_102_444_800);
export const Filter = z.object({
  status: z.enum(jobStatuses).optional(),
  /** A base model. */
  model: z.string().optional(),
  /** From this second on. */
  created_after: time.optional(),
  /** Until this second, and not at it. */
  created_before: time.optional(),
});

export async function listJobs(c: ApiContext): Promise<Response> {
  const query = c.req.query();
  const { limit, after } = paging(query);
  const metadata = Object.entries(query).flatMap(([name, value]) => {
    const key = /^metadata\[(.+)\]$/.exec(name)?.[1];
    return key === undefined ? [] : [[key, value] as const];
  });
  const page = await call<Page<JobRow>>(
    c.get("platform").sql,
    "list_jobs",
    { json: c.get("caller") },
    cursor("job", after),
    limit,
    {
      json: {
        ...check(Filter, query),
        ...(metadata.length > 0 ? { metadata: Object.fromEntries(metadata) } : {}),
        // The SDKs' `metadata: null`: jobs that have none.
        ...(query.metadata === "" || query.metadata === "null" ? { without_metadata: true } : {}),
      },
    },
  );
  return c.json(renderList(page, renderJob));
}
