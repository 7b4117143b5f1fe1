/** Health, deletions and errors. */
import * as z from "zod";
import { count, id, time, word } from "./fields.ts";

export const Health = z.object({
  status: z.enum(["ok", "degraded"]),
  database: z.enum(["ok", "unreachable"]),
  storage: z.enum(["ok", "unreachable"]),
}).meta({ id: "Health" });

export const Status = z.object({
  object: z.literal("status"),
  checked_at: time,
  scheduler: z.object({
    status: z.enum(["ok", "late", "unknown"]).describe(
      "`late`: jobs do not start. `unknown`: no tick has finished since the database restarted",
    ),
    last_tick_at: time.nullable(),
  }),
  jobs: z.object({
    queued: count,
    running: count.describe("Includes jobs that RunPod has not started yet"),
    max_running: count.describe("The project's limit"),
    oldest_queued: z.object({
      id: id("ftjob-"),
      queued_at: time.nullable(),
      reason: z.string().nullable().describe("Why it waits"),
    }).nullable(),
  }),
  files_validating: count,
  failing_receivers: z.array(z.object({
    id: z.string(),
    object: z.enum(["webhook_endpoint", "notification_channel"]),
    name: z.string(),
    enabled: z.boolean().describe("false: Tunebase disabled it, because its deliveries kept failing"),
    reason: z.string().nullable(),
    since: time.nullable(),
  })),
  alerts: z.array(z.object({
    kind: z.enum(["cancel_ignored_by_runpod", "file_check"]),
    job: id("ftjob-").nullable(),
    file: id("file-").nullable(),
    occurrences: count,
    last_at: time,
  })).describe("The operator's alerts about this project's jobs and files"),
}).meta({ id: "Status" });
export type Status = z.infer<typeof Status>;

/** The response of a DELETE. */
export const Deleted = z.object({ id: z.string(), object: z.string(), deleted: z.literal(true) })
  .meta({ id: "Deleted" });

export const Problem = z.object({
  type: z.string().meta({ examples: ["urn:tunebase:error:invalid_request"] }),
  title: z.string(),
  status: z.int(),
  detail: z.string(),
  request_id: z.string(),
  errors: z.array(z.object({
    param: z.string().nullable(),
    message: z.string(),
    value: z.unknown().optional(),
    line: z.int().optional().describe("The line of the file, starting at 1"),
  })).optional(),
  problem_count: z.int().optional().describe(
    "The total number of problems, if `errors` lists only the first ones",
  ),
  error: z.object({
    message: z.string(),
    type: word(
      "invalid_request_error",
      "authentication_error",
      "permission_error",
      "not_found_error",
      "rate_limit_error",
      "server_error",
    ),
    param: z.string().nullable(),
    code: z.string(),
  }).describe("Read by OpenAI's SDKs"),
}).meta({ id: "Problem" });
