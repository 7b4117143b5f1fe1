/** Serializes projects, members, invitations and API keys, similar to OpenAI's administration objects. */
import { publicId } from "../ids.ts";
import type * as objects from "../openapi/objects/index.ts";
import type { ApiKeyRow, InvitationRow, MemberRow, ProjectRow } from "../rows.ts";
import { seconds } from "../time.ts";

/** A project. `limits` and `use` have the same keys; amounts are USD in the current calendar month (UTC). */
export function renderProject(row: ProjectRow): objects.Project {
  return {
    id: publicId("project", row.id),
    object: "project" as const,
    name: row.name,
    slug: row.slug,
    status: row.archived_at === null ? "active" as const : "archived" as const,
    created_at: seconds(row.created_at),
    archived_at: seconds(row.archived_at),
    role: row.role,
    limits: {
      running: row.max_running,
      jobs: row.max_jobs,
      storage_bytes: row.max_storage_bytes,
      spent_usd: row.spend_cap_usd,
      requests_per_minute: row.requests_per_minute,
    },
    store_completions: row.store_completions,
    completion_retention_days: row.completion_retention_days,
    ...(row.use === undefined ? {} : { use: row.use }),
  };
}

export function renderMember(row: MemberRow): objects.Member {
  return {
    id: publicId("user", row.user_id),
    object: "project.member" as const,
    email: row.email,
    role: row.role,
    added_at: seconds(row.created_at),
  };
}

export function renderInvitation(row: InvitationRow): objects.Invitation {
  return {
    id: publicId("invitation", row.id),
    object: "project.invitation" as const,
    project_id: publicId("project", row.project_id),
    ...(row.project_name === undefined ? {} : { project_name: row.project_name }),
    email: row.email,
    role: row.role,
    invited_at: seconds(row.created_at),
    expires_at: seconds(row.expires_at),
  };
}

/** An API key without the key itself, which only the response to its creation has. */
export function renderApiKey(row: ApiKeyRow): objects.ApiKey {
  return {
    id: publicId("apiKey", row.id),
    object: "api_key" as const,
    name: row.name,
    hint: row.hint,
    scopes: row.scopes,
    created_at: seconds(row.created_at),
    created_by: row.created_by === null ? null : publicId("user", row.created_by),
    last_used_at: seconds(row.last_used_at),
    expires_at: seconds(row.expires_at),
    revoked_at: seconds(row.revoked_at),
  };
}
