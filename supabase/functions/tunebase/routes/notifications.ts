/** /notifications: the list for people, and what they have read. */
import * as z from "zod";
import { call } from "../../_shared/database.ts";
import type { Tables } from "../../_shared/database.types.ts";
import { check } from "../../_shared/validation.ts";
import type { ApiContext } from "../context.ts";
import { cursor, pathId } from "../ids.ts";
import { paging } from "../paging.ts";
import { type Page, renderList } from "../render.ts";
import { renderNotification } from "../render_webhooks.ts";

export const Query = z.object({ unread: z.enum(["true", "false"]).default("false") });
type Row = Tables<"notifications"> & { read_at: string | null };

/** GET /notifications?unread=true&after&limit, newest first; `unread_count` is of all of them. */
export async function listNotifications(c: ApiContext): Promise<Response> {
  const { limit, after } = paging(c.req.query());
  const { unread } = check(Query, c.req.query());
  const page = await call<Page<Row> & { unread: number }>(
    c.get("platform").sql,
    "list_notifications",
    { json: c.get("caller") },
    cursor("notification", after),
    limit,
    unread === "true",
  );
  return c.json({ ...renderList(page, renderNotification), unread_count: page.unread });
}

/** POST /notifications/{id}/read */
export function readNotification(c: ApiContext): Promise<Response> {
  return read(c, pathId("notification", c.req.param("id"), "notification_not_found"));
}

/** POST /notifications/read: all of them. */
export function readAllNotifications(c: ApiContext): Promise<Response> {
  return read(c, null);
}

async function read(c: ApiContext, id: string | null): Promise<Response> {
  const unread = await call<number>(
    c.get("platform").sql,
    "mark_notifications_read",
    { json: c.get("caller") },
    id,
  );
  return c.json({ object: "notification.read" as const, unread_count: Number(unread) });
}
