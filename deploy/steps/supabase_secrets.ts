/** The database roles' passwords and the functions' secrets. Drift is detected by the digests that the platform shows. */
import { createHash } from "node:crypto";
import * as z from "zod";
import { deriveSecret } from "../../supabase/functions/_shared/secrets.ts";
import { databaseRoles } from "../database.ts";
import { DeployError } from "../errors.ts";
import type { SupabaseApi } from "../platforms/supabase.ts";
import type { Change, Context, Step } from "../step.ts";
import { ownerVariable } from "./runpod_names.ts";
import { masterKeyIfAny } from "./supabase_master_key.ts";

/** The secrets that a deployment sets and `destroy` removes. The optional ones in docs/deploy.md belong to the operator. */
export const secretNames = [
  "TUNEBASE_MASTER_KEY",
  ...Object.values(databaseRoles),
  "RUNPOD_API_KEY",
  "RUNPOD_API_URL",
  "TUNEBASE_INFERENCE_URL",
  "TUNEBASE_MAX_FILE_BYTES",
  "TUNEBASE_DASHBOARD_URL",
  "TUNEBASE_ALLOW_LOOPBACK",
  ownerVariable,
];

/** Throws a DeployError if another profile has installed Tunebase in the project, because they would overwrite and remove each other's work. */
export async function rejectOtherProfile(supabase: SupabaseApi, profile: string): Promise<void> {
  const owner = (await supabase.secretDigests()).get(ownerVariable);
  if (owner === undefined || owner === sha256(profile)) return;
  throw new DeployError(
    `A profile other than ${profile} has installed Tunebase in this Supabase project.`,
    `Use that --profile. To move the installation to ${profile}, delete the function secret ${ownerVariable} in the Supabase dashboard (Edge Functions, Secrets).`,
  );
}

export const supabaseSecrets: Step = {
  id: "supabase-secrets",
  title: "Database roles and function secrets",
  async plan(context) {
    if (context.state.project === null) {
      return [{ action: "create", what: "passwords of three database roles" }, {
        action: "create",
        what: "function secrets",
      }];
    }
    const { missing, changed } = await differences(context, await masterKeyIfAny(context));
    const changes: Change[] = [];
    if (missing.length > 0) {
      changes.push({ action: "create", what: `function secrets ${missing.join(", ")}` });
    }
    if (changed.length > 0) {
      changes.push({
        action: "update",
        what: `function secrets ${changed.join(", ")}`,
        why: "the values differ",
      });
    }
    if (!await rolesCanLogIn(context)) {
      changes.push({ action: "update", what: "database roles", why: "a role cannot log in" });
    }
    return changes;
  },
  async apply(context) {
    const key = await context.masterKey();
    const { secrets, missing, changed } = await differences(context, key);
    const names = [...missing, ...changed];
    if (names.length === 0 && await rolesCanLogIn(context)) return;
    for (const role of rolesOf()) {
      // A password cannot be a parameter; a derived one is base64url.
      await context.supabase.execute(`alter role ${role} login password '${rolePassword(key, role)}'`);
    }
    await context.supabase.setSecrets(Object.fromEntries(names.map((name) => [name, secrets[name] ?? ""])));
  },
  async planRemoval({ supabase }) {
    const present = await supabase.secretDigests();
    const ours = secretNames.filter((name) => present.has(name));
    return ours.length === 0 ? [] : [{ action: "delete", what: `function secrets ${ours.join(", ")}` }];
  },
  async remove({ supabase }) {
    const present = await supabase.secretDigests();
    const ours = secretNames.filter((name) => present.has(name));
    if (ours.length > 0) await supabase.deleteSecrets(ours);
  },
};

/** Throws a DeployError if the project's own functions may use a secret that a first deployment would overwrite. */
export async function rejectForeignSecrets(supabase: SupabaseApi, runpodKey: string): Promise<void> {
  const digests = await supabase.secretDigests();
  const found = digests.get("RUNPOD_API_KEY");
  if (digests.has("TUNEBASE_MASTER_KEY") || found === undefined || found === sha256(runpodKey)) return;
  throw new DeployError(
    "The project has a function secret RUNPOD_API_KEY with another value, which its own functions may use.",
    "Set RUNPOD_API_KEY to that key, or delete the function secret if nothing uses it.",
  );
}

/** The password of a database role, in base64url. */
export const rolePassword = (masterKey: string, role: string): string =>
  deriveSecret(masterKey, `database-role/${role}`);

async function differences(context: Context, key: string | null) {
  const [secrets, digests] = await Promise.all([desired(context, key), context.supabase.secretDigests()]);
  const names = Object.keys(secrets);
  return {
    secrets,
    missing: names.filter((name) => !digests.has(name)),
    changed: names.filter((name) => digests.has(name) && digests.get(name) !== sha256(secrets[name] ?? "")),
  };
}

async function desired(
  { settings, supabase, target, runpodKey }: Context,
  key: string | null,
): Promise<Record<string, string>> {
  const [pooler, limit] = await Promise.all([supabase.pooler(), supabase.fileSizeLimit()]);
  const url = (role: string) => {
    const address = new URL(`postgresql://${pooler.db_host}:${pooler.db_port}/${pooler.db_name}`);
    // The pooler identifies the project by the suffix of the user name: `postgres.REF`.
    address.username = pooler.db_user.replace(/^[^.]+/, role);
    address.password = key === null ? "" : rolePassword(key, role);
    return address.href;
  };
  return {
    [ownerVariable]: settings.profile,
    TUNEBASE_MASTER_KEY: key ?? "",
    ...Object.fromEntries(Object.entries(databaseRoles).map(([role, name]) => [name, url(role)])),
    RUNPOD_API_KEY: runpodKey,
    RUNPOD_API_URL: target.runpodApi,
    TUNEBASE_INFERENCE_URL: target.inferenceUrl,
    TUNEBASE_MAX_FILE_BYTES: `${limit}`,
    ...(settings.dashboardUrl === null ? {} : { TUNEBASE_DASHBOARD_URL: `${settings.dashboardUrl}/#` }),
    ...target.functionSecrets,
  };
}

async function rolesCanLogIn({ supabase }: Context): Promise<boolean> {
  const rows = await supabase.query(
    "select rolname from pg_catalog.pg_roles where rolname like 'tunebase\\_%' and rolcanlogin",
    z.array(z.object({ rolname: z.string() })),
  );
  return rolesOf().every((role) => rows.some(({ rolname }) => rolname === role));
}

const rolesOf = () => Object.keys(databaseRoles);
const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");
