/** GET /fine_tuning/jobs?after&limit&metadata[k]=v, newest first, filtered by metadata, status, model and creation time. */
import * as z from "zod";
import { jobStatuses } from "../../../_shared/contracts/statuses.ts";
import { rpc } from "../../../_shared/database/rpc.ts";
import { parseOrThrow } from "../../../_shared/validation.ts";
import type { ApiContext } from "../../context.ts";
import { cursor } from "../../ids.ts";
import { paging } from "../../paging.ts";
import { renderJob } from "../../serializers/fine_tuning.ts";
import { renderList } from "../../serializers/list.ts";
import { JobRow, page } from "../../rows.ts";
import { defineRoute } from "../define.ts";

const time = z.coerce.number("must be a timestamp in Unix seconds").min(0).max(4_102_444_800);
export const Filter = z.object({
  status: z.enum(jobStatuses).optional(),
  /** A base model. */
  model: z.string().optional(),
  /** Inclusive. */
  created_after: time.optional(),
  /** Exclusive. */
  created_before: time.optional(),
});

async function listJobs(c: ApiContext): Promise<Response> {
  const query = c.req.query();
  const { limit, after } = paging(query);
  const metadata = Object.entries(query).flatMap(([name, value]) => {
    const key = /^metadata\[(.+)\]$/.exec(name)?.[1];
    return key === undefined ? [] : [[key, value] as const];
  });
  const found = await rpc(c.get("platform").db, "list_jobs", {
    caller: c.get("caller"),
    after: cursor("job", after),
    limit,
    filter: {
      ...parseOrThrow(Filter, query),
      ...(metadata.length > 0 ? { metadata: Object.fromEntries(metadata) } : {}),
      // The SDKs' `metadata: null`: jobs without metadata.
      ...(query.metadata === "" || query.metadata === "null" ? { without_metadata: true } : {}),
    },
  }, page(JobRow));
  return c.json(renderList(found, renderJob));
}

export const routes = [
  defineRoute({
    method: "GET",
    path: "/fine_tuning/jobs",
    id: "listJobs",
    summary: "List jobs, newest first",
    description: "Filter by metadata with `metadata[key]=value`.",
    scope: "jobs:read",
    paging: 100,
    query: Filter,
    response: "Job[]",
    handler: listJobs,
  }),
];
