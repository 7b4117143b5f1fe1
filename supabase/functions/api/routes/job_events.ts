/** GET /fine_tuning/jobs/{id}/events?after&limit, newest first. */
import { call } from "../../_shared/database.ts";
import type { Tables } from "../../_shared/database.types.ts";
import type { ApiContext } from "../context.ts";
import { cursor, pathId } from "../ids.ts";
import { paging } from "../paging.ts";
import { type Page, renderEvent, renderList } from "../render.ts";

export async function listEvents(c: ApiContext): Promise<Response> {
  const id = pathId("job", c.req.param("id"), "job_not_found");
  const { limit, after } = paging(c.req.query());
  const page = await call<Page<Tables<"events">>>(
    c.get("platform").sql,
    "list_events",
    { json: c.get("caller") },
    id,
    cursor("event", after),
    limit,
  );
  return c.json(renderList(page, renderEvent));
}
