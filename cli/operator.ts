/**
 * `task operator`: what an operator needs to set Tunebase up on a hosted Supabase project, until the dashboard does it.
 * It prints; it changes nothing.
 */
import { deriveSecret, sha256Hex } from "../supabase/functions/_shared/secrets.ts";

const help = `Prints what an operator needs.

  npx -y deno@2.9.6 task operator master-key         a new TUNEBASE_MASTER_KEY
  npx -y deno@2.9.6 task operator scheduler-secret   what the timer authorises itself with (reads TUNEBASE_MASTER_KEY)
  npx -y deno@2.9.6 task operator api-key EMAIL      a new API key, and the SQL that stores its hash`;

const [command, argument] = Deno.args;
const bytes = crypto.getRandomValues(new Uint8Array(32));
const base64 = btoa(String.fromCharCode(...bytes));

switch (command) {
  case "master-key":
    console.log(base64);
    break;
  case "scheduler-secret": {
    const masterKey = Deno.env.get("TUNEBASE_MASTER_KEY");
    if (!masterKey) fail("TUNEBASE_MASTER_KEY is not set.");
    console.log(deriveSecret(masterKey, "scheduler"));
    break;
  }
  case "api-key": {
    if (!argument || !/^[^\s'\\]+@[^\s'\\]+$/.test(argument)) {
      fail("Name the user by the e-mail they signed up with.");
    }
    const key = `tb_${base64.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
    console.log(`${key}

Shown only here. Run this in the project's SQL editor:

select tunebase_internal.store_first_api_key(
  (select project_id from tunebase.project_members m join auth.users u on u.id = m.user_id
   where u.email = '${argument}' order by m.created_at limit 1),
  'First key', '{files:read,files:write,jobs:read,jobs:write,models:read,webhooks:read,webhooks:write}',
  decode('${await sha256Hex(key)}', 'hex'), '${key.slice(0, 6)}…${key.slice(-4)}'
);`);
    break;
  }
  case "--help":
    console.log(help);
    break;
  default:
    fail(command === undefined ? "Name what to print." : `Unknown: ${command}.`);
}

function fail(why: string): never {
  console.error(`${why}\n\n${help}`);
  Deno.exit(2);
}
