/** GET /fine_tuning/jobs?after&limit&metadata[k]=v, newest first. */
import { call } from "../../_shared/database.ts";
import type { ApiContext } from "../context.ts";
import { cursor } from "../ids.ts";
import { paging } from "../paging.ts";
import { type JobRow, type Page, renderJob, renderList } from "../render.ts";

export async function listJobs(c: ApiContext): Promise<Response> {
  const query = c.req.query();
  const { limit, after } = paging(query);
  const wanted = Object.entries(query).flatMap(([name, value]) => {
    const key = /^metadata\[(.+)\]$/.exec(name)?.[1];
    return key === undefined ? [] : [[key, value] as const];
  });
  const page = await call<Page<JobRow>>(
    c.get("platform").sql,
    "list_jobs",
    { json: c.get("caller") },
    cursor("job", after),
    limit,
    wanted.length > 0 ? { json: Object.fromEntries(wanted) } : null,
  );
  return c.json(renderList(page, renderJob));
}
