/** The master key, generated once and stored in the project's Vault. All other secrets of the installation are derived from it. */
import { randomBytes } from "node:crypto";
import * as z from "zod";
import { hasRelation } from "../database.ts";
import { DeployError } from "../errors.ts";
import type { SupabaseApi } from "../platforms/supabase.ts";
import type { Context, Step } from "../step.ts";

const vaultName = "tunebase_master_key";

export const supabaseMasterKey: Step = {
  id: "supabase-master-key",
  title: "Master key",
  async plan({ state, supabase }) {
    if (state.project !== null) {
      if (await findMasterKey(supabase) !== null) return [];
      await rejectKeyOutsideVault(supabase);
    }
    return [{ action: "create", what: "master key, in the project's Vault" }];
  },
  async apply({ supabase }) {
    if (await findMasterKey(supabase) !== null) return;
    // Two concurrent runs end up with one key, because names of Vault secrets are unique.
    await supabase.execute("select vault.create_secret($1, $2, $3)", [
      randomBytes(32).toString("base64"),
      vaultName,
      "Tunebase derives all of its secrets from this key.",
    ]);
  },
};

/** Throws a DeployError if manually deployed functions have a key, because another one could not decrypt stored data. */
export async function rejectKeyOutsideVault(supabase: SupabaseApi): Promise<void> {
  if (!(await supabase.secretDigests()).has("TUNEBASE_MASTER_KEY")) return;
  if (await findMasterKey(supabase) !== null) return;
  throw new DeployError(
    `The project's functions have a TUNEBASE_MASTER_KEY, but its Vault has no secret ${vaultName}.`,
    `Add that key to Vault (Integrations, Vault) under the name ${vaultName}, then run the command again. ` +
      "If the project has no Tunebase data, delete the function secret instead.",
  );
}

/** null: the project has no master key yet. A platform that cannot be reached is still an error. */
export async function masterKeyIfAny({ masterKey }: Pick<Context, "masterKey">): Promise<string | null> {
  try {
    return await masterKey();
  } catch (error) {
    if (error instanceof DeployError) return null;
    throw error;
  }
}

/** The master key. Throws a DeployError if the project has none. */
export async function masterKey(supabase: SupabaseApi): Promise<string> {
  const found = await findMasterKey(supabase);
  if (found === null) {
    throw new DeployError(
      `The project's Vault has no secret ${vaultName}.`,
      "If you deployed by hand, add the function secret TUNEBASE_MASTER_KEY to Vault under that name.",
    );
  }
  return found;
}

async function findMasterKey(supabase: SupabaseApi): Promise<string | null> {
  if (!await hasRelation(supabase, "vault.decrypted_secrets")) return null;
  const rows = await supabase.query(
    "select decrypted_secret from vault.decrypted_secrets where name = $1",
    z.array(z.object({ decrypted_secret: z.string() })),
    [vaultName],
  );
  return rows[0]?.decrypted_secret ?? null;
}
