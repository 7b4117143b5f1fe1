/** A user, their project and an API key: what a newcomer would make first, made once for `demo` and `dev`. */
import { createClient } from "@supabase/supabase-js";
import { defaultScopes } from "../../supabase/functions/_shared/contracts/scopes.ts";
import { hex } from "../../supabase/functions/_shared/secrets.ts";
import { randomText, saveKeys } from "./keys.ts";
import type { Stack } from "./mod.ts";

export interface Account {
  baseUrl: string;
  apiKey: string;
  email: string;
  password: string;
}

/** Signs the user up through Auth and makes a key for their project; answers the same the next time. */
export async function ensureAccount(stack: Stack): Promise<Account> {
  const baseUrl = `${stack.url}/functions/v1/tunebase`;
  const known = stack.keys.account;
  if (known !== undefined) return { baseUrl, ...known };
  const email = "dev@tunebase.local";
  const password = randomText(12);
  const supabase = createClient(stack.url, stack.keys.publishableKey, {
    auth: { persistSession: false, autoRefreshToken: false },
  });
  const { data, error } = await supabase.auth.signUp({ email, password });
  if (error !== null || data.user === null) throw new Error(`could not sign ${email} up: ${error?.message}`);
  await stack.sql`select tunebase_internal.add_owner(${email})`;
  const apiKey = await createKey(stack, data.user.id, "Development");
  const account = { email, password, apiKey };
  stack.keys.account = account;
  await saveKeys(stack.home, stack.keys);
  return { baseUrl, ...account };
}

/** A link that signs this user in to the dashboard: Auth's own, as an administrator makes them. Works once. */
export async function signInLink(stack: Pick<Stack, "url" | "keys">, email: string): Promise<string> {
  const supabase = createClient(stack.url, stack.keys.secretKey, {
    auth: { persistSession: false, autoRefreshToken: false },
  });
  const { data, error } = await supabase.auth.admin.generateLink({
    type: "magiclink",
    email,
    options: { redirectTo: `${stack.url}/dashboard/` },
  });
  if (error !== null) throw new Error(`no link for ${email}: ${error.message}`);
  return data.properties.action_link;
}

/** A new API key for a user's own project: `tb_` and 43 characters; only its hash is stored. */
export async function createKey(stack: Pick<Stack, "sql">, userId: string, name: string): Promise<string> {
  const key = `tb_${randomText(32)}`;
  const hash = hex(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key))));
  await stack.sql`
    select tunebase_internal.store_first_api_key(
      (select project_id from tunebase.project_members where user_id = ${userId} order by created_at limit 1),
      ${name}, ${defaultScopes}, decode(${hash}, 'hex'), ${`${key.slice(0, 6)}…${
    key.slice(-4)
  }`}, ${userId})`;
  return key;
}
