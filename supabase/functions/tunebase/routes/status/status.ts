/** GET /status: whether the service works for the caller's project. The operator's view is GET /metrics and `task doctor`. */
import * as z from "zod";
import { limits } from "../../../_shared/contracts/limits.ts";
import { rpc } from "../../../_shared/database/rpc.ts";
import type { ApiContext } from "../../context.ts";
import { publicId } from "../../ids.ts";
import type { Status } from "../../openapi/objects/index.ts";
import { seconds } from "../../time.ts";
import { defineRoute } from "../define.ts";

const StatusRow = z.object({
  last_tick_at: z.string().nullable(),
  queued: z.int(),
  running: z.int(),
  max_running: z.int(),
  oldest_job_id: z.string().nullable(),
  oldest_queued_at: z.string().nullable(),
  oldest_reason: z.string().nullable(),
  files_validating: z.int(),
  receivers: z.array(z.object({
    kind: z.enum(["webhook_endpoint", "notification_channel"]),
    id: z.string(),
    name: z.string(),
    enabled: z.boolean(),
    reason: z.string().nullable(),
    since: z.string().nullable(),
  })),
  problems: z.array(z.object({
    kind: z.enum(["cancel_ignored_by_runpod", "file_check"]),
    job_id: z.string().nullable(),
    file_id: z.string().nullable(),
    occurrences: z.int(),
    last_at: z.string(),
  })),
});

async function getStatus(c: ApiContext): Promise<Response> {
  const row = await rpc(c.get("platform").db, "get_status", { caller: c.get("caller") }, StatusRow);
  return c.json(render(row, Math.floor(Date.now() / 1000)));
}

function render(row: z.infer<typeof StatusRow>, now: number): Status {
  const lastTick = seconds(row.last_tick_at);
  return {
    object: "status",
    checked_at: now,
    scheduler: {
      status: lastTick === null ? "unknown" : now - lastTick > limits.maxTickAgeSeconds ? "late" : "ok",
      last_tick_at: lastTick,
    },
    jobs: {
      queued: row.queued,
      running: row.running,
      max_running: row.max_running,
      oldest_queued: row.oldest_job_id === null ? null : {
        id: publicId("job", row.oldest_job_id),
        queued_at: seconds(row.oldest_queued_at),
        reason: row.oldest_reason,
      },
    },
    files_validating: row.files_validating,
    failing_receivers: row.receivers.map(({ kind, id, name, enabled, reason, since }) => ({
      id: publicId(kind === "webhook_endpoint" ? "webhookEndpoint" : "notificationChannel", id),
      object: kind,
      name,
      enabled,
      reason,
      since: seconds(since),
    })),
    alerts: row.problems.map(({ kind, job_id, file_id, occurrences, last_at }) => ({
      kind,
      job: job_id === null ? null : publicId("job", job_id),
      file: file_id === null ? null : publicId("file", file_id),
      occurrences,
      last_at: seconds(last_at),
    })),
  };
}

export const routes = [
  defineRoute({
    method: "GET",
    path: "/status",
    id: "getStatus",
    summary: "Get the project's queued work and problems, and the scheduler's health",
    scope: "project:read",
    response: "Status",
    handler: getStatus,
  }),
];
