/** The first owner, their project and an API key. The key is written to a private file; the database stores its hash. */
import { randomBytes } from "node:crypto";
import { resolve } from "node:path";
import * as z from "zod";
import { sha256Hex } from "../../supabase/functions/_shared/secrets.ts";
import { hasRelation } from "../database.ts";
import { DeployError } from "../errors.ts";
import { postToProject } from "../platforms/project.ts";
import { profilesFolder, readIfThere, writePrivate } from "../state.ts";
import type { Change, Context, Step } from "../step.ts";

export const owner: Step = {
  id: "owner",
  title: "Owner and API key",
  async plan(context) {
    const { settings, state } = context;
    if (settings.ownerEmail === null) return [];
    const { user, project, key } = state.project === null
      ? { user: false, project: false, key: false }
      : await existing(context);
    const changes: Change[] = [];
    if (!user) changes.push({ action: "create", what: `user ${settings.ownerEmail} in Supabase Auth` });
    if (!project) {
      changes.push({
        action: "create",
        what: `project of ${settings.ownerEmail} (spend cap: $50 per month)`,
      });
    }
    if (!key) changes.push({ action: "create", what: `API key, in ${credentialsFile(settings.profile)}` });
    return changes;
  },
  async apply(context) {
    const { settings: { ownerEmail, profile }, supabase, target, state } = context;
    if (ownerEmail === null) return;
    const { user, project, key } = await existing(context);
    if (!user) await createUser(context, ownerEmail);
    if (!project) await supabase.execute("select tunebase_internal.add_owner($1)", [ownerEmail]);
    if (key) return;
    // The file first, so that a key whose hash is stored is never lost.
    const secret = `tb_${randomBytes(32).toString("base64url")}`;
    const baseUrl = `${target.projectUrl(state.project ?? "")}/functions/v1/tunebase`;
    await writePrivate(
      credentialsFile(profile),
      `TUNEBASE_BASE_URL=${baseUrl}\nTUNEBASE_API_KEY=${secret}\n`,
    );
    await supabase.execute(
      "select tunebase_internal.store_owner_api_key($1, decode($2, 'hex'), $3)",
      [ownerEmail, sha256Hex(secret), `${secret.slice(0, 6)}…${secret.slice(-4)}`],
    );
  },
};

/** The base URL and the API key of a profile, as lines of `NAME=value`. */
export const credentialsFile = (profile: string): string => resolve(profilesFolder(), `${profile}.env`);

/** Reads {@link credentialsFile}. null: this profile has no key. */
export async function readCredentials(profile: string): Promise<{ baseUrl: string; apiKey: string } | null> {
  const text = await readIfThere(credentialsFile(profile)) ?? "";
  const baseUrl = /^TUNEBASE_BASE_URL=(.+)$/m.exec(text)?.[1];
  const apiKey = /^TUNEBASE_API_KEY=(.+)$/m.exec(text)?.[1];
  return baseUrl === undefined || apiKey === undefined ? null : { baseUrl, apiKey };
}

const Existing = z.object({ user: z.boolean(), project: z.boolean(), keys: z.array(z.string()) });

async function existing(
  { settings, supabase }: Context,
): Promise<{ user: boolean; project: boolean; key: boolean }> {
  const [row] = await supabase.query(
    await hasRelation(supabase, "tunebase_internal.api_key_hashes")
      ? `select exists (select from auth.users where lower(email) = lower($1) and email_confirmed_at is not null) as user,
          exists (
            select from tunebase.project_members m join auth.users u on u.id = m.user_id
            join tunebase.projects p on p.id = m.project_id
            where lower(u.email) = lower($1) and m.role = 'owner' and p.archived_at is null
          ) as project,
          array(select encode(h.hash, 'hex') from tunebase_internal.api_key_hashes h
            join tunebase.api_keys k on k.id = h.api_key_id
            join tunebase.project_members m on m.project_id = k.project_id and m.role = 'owner'
            join auth.users u on u.id = m.user_id
            where k.revoked_at is null and lower(u.email) = lower($1)) as keys`
      : `select exists (select from auth.users where lower(email) = lower($1) and email_confirmed_at is not null) as user,
          false as project, array[]::text[] as keys`,
    z.array(Existing),
    [settings.ownerEmail],
  );
  const apiKey = (await readCredentials(settings.profile))?.apiKey;
  return {
    user: row?.user ?? false,
    project: row?.project ?? false,
    key: apiKey !== undefined && (row?.keys.includes(sha256Hex(apiKey)) ?? false),
  };
}

/** Creates the user with Auth's admin API, confirmed and without a password. The owner signs in with a link or resets the password. */
async function createUser(context: Context, email: string): Promise<void> {
  const { ok, status, text } = await postToProject(context, "/auth/v1/admin/users", {
    email,
    email_confirm: true,
  });
  if (ok) return;
  throw new DeployError(
    `Supabase Auth did not create the user ${email}: ${status} ${text}`,
    "Create and confirm the user in the Supabase dashboard (Authentication), then run the command again.",
  );
}
