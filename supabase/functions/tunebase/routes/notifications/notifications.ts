/** /notifications: in-app notifications and their read state. */
import * as z from "zod";
import { rpc } from "../../../_shared/database/rpc.ts";
import { parseOrThrow } from "../../../_shared/validation.ts";
import type { ApiContext } from "../../context.ts";
import { cursor, pathId } from "../../ids.ts";
import { paging } from "../../paging.ts";
import { renderList } from "../../serializers/list.ts";
import { renderNotification } from "../../serializers/webhooks.ts";
import { NotificationRow, page } from "../../rows.ts";
import { defineRoute } from "../define.ts";

export const Query = z.object({ unread: z.enum(["true", "false"]).default("false") });
const Found = page(NotificationRow).extend({ unread: z.number() });

/** GET /notifications?unread=true&after&limit, newest first. `unread_count` is the total. */
async function listNotifications(c: ApiContext): Promise<Response> {
  const { limit, after } = paging(c.req.query());
  const { unread } = parseOrThrow(Query, c.req.query());
  const found = await rpc(c.get("platform").db, "list_notifications", {
    caller: c.get("caller"),
    after: cursor("notification", after),
    limit,
    unread: unread === "true",
  }, Found);
  return c.json({ ...renderList(found, renderNotification), unread_count: found.unread });
}

/** POST /notifications/{id}/read */
function readNotification(c: ApiContext): Promise<Response> {
  return read(c, pathId("notification", c.req.param("id"), "notification_not_found"));
}

/** POST /notifications/read: all of them. */
function readAllNotifications(c: ApiContext): Promise<Response> {
  return read(c, null);
}

async function read(c: ApiContext, id: string | null): Promise<Response> {
  const unread_count = await rpc(c.get("platform").db, "mark_notifications_read", {
    caller: c.get("caller"),
    id,
  });
  return c.json({ object: "notification.read" as const, unread_count });
}

export const routes = [
  defineRoute({
    method: "GET",
    path: "/notifications",
    id: "listNotifications",
    summary: "List notifications",
    scope: "jobs:read",
    paging: 100,
    query: Query,
    response: "NotificationList",
    handler: listNotifications,
  }),
  defineRoute({
    method: "POST",
    path: "/notifications/read",
    id: "readAllNotifications",
    summary: "Mark all notifications as read",
    scope: "jobs:read",
    response: "NotificationsRead",
    errors: ["user_required"],
    handler: readAllNotifications,
  }),
  defineRoute({
    method: "POST",
    path: "/notifications/{id}/read",
    id: "readNotification",
    summary: "Mark a notification as read",
    scope: "jobs:read",
    response: "NotificationsRead",
    errors: ["notification_not_found", "user_required"],
    handler: readNotification,
  }),
];
