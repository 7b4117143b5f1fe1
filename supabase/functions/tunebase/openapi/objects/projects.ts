/** Projects, members, invitations, API keys and usage. */
import * as z from "zod";
import { projectStatuses, roles } from "../../../_shared/contracts/statuses.ts";
import { count, id, time, usd, word } from "./fields.ts";

const limits = {
  running: z.int(),
  jobs: z.int().nullable(),
  storage_bytes: z.int().nullable(),
  spent_usd: usd.nullable().describe(
    "USD per calendar month (UTC). null: no cap, as set by an owner or the operator",
  ),
};
export const Project = z.object({
  id: id("proj_"),
  object: z.literal("project"),
  name: z.string(),
  slug: z.string(),
  status: z.enum(projectStatuses),
  created_at: time,
  archived_at: time.nullable(),
  role: word(...roles).nullable().describe("Your role; null for API keys"),
  limits: z.object({ ...limits, requests_per_minute: z.int() }),
  store_completions: z.boolean().describe("Whether requests can set `store: true`"),
  completion_retention_days: z.int(),
  use: z.object({ running: count, jobs: count, storage_bytes: count, spent_usd: usd }).optional()
    .describe("Usage of the limits, this month. Not included in lists"),
}).meta({ id: "Project" });
export type Project = z.infer<typeof Project>;

export const Member = z.object({
  id: id("user-"),
  object: z.literal("project.member"),
  email: z.string().nullable(),
  role: word(...roles),
  added_at: time,
}).meta({ id: "ProjectMember" });
export type Member = z.infer<typeof Member>;

export const Invitation = z.object({
  id: id("invite-"),
  object: z.literal("project.invitation"),
  project_id: id("proj_"),
  project_name: z.string().optional(),
  email: z.string(),
  role: word(...roles),
  invited_at: time,
  expires_at: time,
}).meta({ id: "ProjectInvitation" });
export type Invitation = z.infer<typeof Invitation>;
export const AnsweredInvitation = Invitation.extend({ status: z.enum(["accepted", "declined"]) })
  .meta({ id: "AnsweredInvitation" });

export const ApiKey = z.object({
  id: id("key_"),
  object: z.literal("api_key"),
  name: z.string(),
  hint: z.string().meta({ examples: ["tb_Ab3…x9Yz"] }),
  scopes: z.array(z.string()),
  created_at: time,
  created_by: id("user-").nullable(),
  last_used_at: time.nullable(),
  expires_at: time.nullable(),
  revoked_at: time.nullable(),
}).meta({ id: "ApiKey" });
export type ApiKey = z.infer<typeof ApiKey>;
export const NewApiKey = ApiKey.extend({ key: z.string().describe("The API key. It is only shown once") })
  .meta({ id: "NewApiKey" });

export const Me = z.object({
  object: z.literal("me"),
  user: z.object({ id: id("user-"), email: z.string().nullable() }).nullable(),
  api_key: ApiKey.nullable(),
  project: Project.nullable(),
  role: word(...roles).nullable(),
  scopes: z.array(z.string()),
  can_create_project: z.boolean().describe(
    "Whether you can create projects: if sign-up is open, or if you already own a project",
  ),
  hint: z.string().nullable().describe("How to get a project, if you have none"),
  invitations: z.array(Invitation),
  dashboard_url: z.string().nullable().describe(
    "The address of the dashboard, if the operator has set one; a job is at `/jobs/{id}` below it",
  ),
}).meta({ id: "Me" });

const sums = {
  jobs_created: count,
  jobs_succeeded: count,
  jobs_failed: count,
  jobs_cancelled: count,
  trained_tokens: count,
  gpu_seconds: z.number(),
  cost_usd: usd.describe("Of training"),
  inference_requests: count,
  prompt_tokens: count,
  completion_tokens: count,
  inference_cost_usd: usd,
};
export const Usage = z.object({
  object: z.literal("usage"),
  time_zone: z.string(),
  from: z.iso.date(),
  to: z.iso.date(),
  data: z.array(z.object({ date: z.iso.date(), ...sums })),
  total: z.object(sums),
}).meta({ id: "Usage" });

const called = {
  requests: count,
  prompt_tokens: count,
  completion_tokens: count,
  seconds: z.number().describe("How long the engine answered requests"),
  cost_usd: usd,
};
export const InferenceUsage = z.object({
  object: z.literal("usage.inference"),
  time_zone: z.string(),
  from: z.iso.date(),
  to: z.iso.date(),
  group_by: z.enum(["model", "api_key"]),
  data: z.array(z.object({
    model: z.string().nullable().describe("null unless grouped by model"),
    api_key_id: id("key_").nullable().describe("null: signed-in users, or grouped by model"),
    api_key_name: z.string().nullable(),
    ...called,
  })).describe("The most expensive first"),
  total: z.object(called),
}).meta({ id: "InferenceUsage" });
