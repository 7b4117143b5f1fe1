/**
 * `task operator`: what an operator needs to run Tunebase on a hosted Supabase project. It prints secrets and SQL
 * statements for the project's SQL editor; it connects to nothing and changes nothing.
 */
import { deriveSecret, sha256Hex } from "../supabase/functions/_shared/secrets.ts";

export const help = `Prints what an operator needs: secrets, and SQL to run in the project's SQL editor.

  npx -y deno@2.9.6 task operator master-key               a new TUNEBASE_MASTER_KEY
  npx -y deno@2.9.6 task operator scheduler-secret         the timer's credential (reads TUNEBASE_MASTER_KEY)
  npx -y deno@2.9.6 task operator owner EMAIL [--name N]   gives a user a project of their own
  npx -y deno@2.9.6 task operator api-key EMAIL            a new API key, and the SQL that stores its hash
  npx -y deno@2.9.6 task operator signup invite|open       who may create projects: owners only, or every user
  npx -y deno@2.9.6 task operator spend-cap USD|none       the monthly cap of new projects
    --max                                                  the highest cap that an owner may set instead
    --project proj_…                                       the cap of this project instead`;

/** A mistake in the command line; the message says what to write. */
export class UsageError extends Error {}

/** What the command prints. Throws UsageError. */
export async function operator(args: string[], masterKey: string | undefined): Promise<string> {
  const [command, ...rest] = args;
  switch (command) {
    case "--help":
      return help;
    case "master-key":
      noMore(rest);
      return randomBase64();
    case "scheduler-secret":
      noMore(rest);
      if (!masterKey) throw new UsageError("TUNEBASE_MASTER_KEY is not set.");
      return deriveSecret(masterKey, "scheduler");
    case "owner":
      return owner(rest);
    case "api-key":
      return await apiKey(rest);
    case "signup":
      return signup(rest);
    case "spend-cap":
      return spendCap(rest);
    default:
      throw new UsageError(command === undefined ? "Name what to print." : `Unknown command: ${command}.`);
  }
}

function owner([email, ...rest]: string[]): string {
  const name = option(rest, "--name");
  noMore(rest);
  return `select tunebase_internal.add_owner(${literal(address(email))}${
    name === undefined ? "" : `, ${literal(name)}`
  });`;
}

async function apiKey([email, ...rest]: string[]): Promise<string> {
  noMore(rest);
  const user = literal(address(email));
  const key = `tb_${randomBase64().replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
  const hint = `${key.slice(0, 6)}…${key.slice(-4)}`;
  return `${key}

Shown only here. Run this in the project's SQL editor:

select tunebase_internal.store_owner_api_key(
  ${user}, decode('${await sha256Hex(key)}', 'hex'), '${hint}'
);`;
}

function signup([mode, ...rest]: string[]): string {
  noMore(rest);
  if (mode === "invite") return "update tunebase_internal.settings set signup = 'invite';";
  if (mode !== "open") throw new UsageError("signup: write invite or open.");
  return `-- Every user of the host app may create projects and spend your money, up to the cap of each project.
-- Owners may set their cap no higher than the default unless you have set --max.
update tunebase_internal.settings
set signup = 'open', default_spend_cap_usd = coalesce(default_spend_cap_usd, 50),
  max_spend_cap_usd = coalesce(max_spend_cap_usd, default_spend_cap_usd, 50);`;
}

function spendCap([amount, ...rest]: string[]): string {
  const isMax = flag(rest, "--max");
  const project = option(rest, "--project");
  noMore(rest);
  if (isMax && project !== undefined) {
    throw new UsageError("spend-cap: --max and --project exclude each other.");
  }
  const usd = money(amount);
  if (project === undefined) {
    return `update tunebase_internal.settings set ${isMax ? "max" : "default"}_spend_cap_usd = ${usd};`;
  }
  const id = /^proj_([0-9a-f]{32})$/.exec(project)?.[1];
  if (id === undefined) {
    throw new UsageError("--project: write the project's id, proj_ and 32 hexadecimal digits.");
  }
  return `update tunebase.projects set spend_cap_usd = ${usd}, budget_warned_month = null where id = '${id}';`;
}

function money(text: string | undefined): string {
  if (text === "none") return "null";
  if (text !== undefined && /^\d{1,7}(\.\d{1,4})?$/.test(text) && Number(text) > 0) return text;
  throw new UsageError("spend-cap: write an amount in USD, such as 50 or 12.5, or none for no cap.");
}

function address(email: string | undefined): string {
  if (email === undefined || !/^[^\s@]+@[^\s@]+$/.test(email)) {
    throw new UsageError("Name the user by the e-mail address they signed up with.");
  }
  return email;
}

/** An SQL literal. Standard strings, where a backslash is itself. */
function literal(text: string): string {
  if (text.includes("\0")) throw new UsageError("A text must not contain NUL.");
  return `'${text.replaceAll("'", "''")}'`;
}

/** Takes `name VALUE` out of `args`. */
function option(args: string[], name: string): string | undefined {
  const at = args.indexOf(name);
  if (at < 0) return undefined;
  const [, value] = args.splice(at, 2);
  if (value === undefined) throw new UsageError(`${name} needs a value.`);
  return value;
}

function flag(args: string[], name: string): boolean {
  const at = args.indexOf(name);
  if (at >= 0) args.splice(at, 1);
  return at >= 0;
}

function noMore(args: string[]): void {
  if (args.length > 0) throw new UsageError(`Unexpected: ${args.join(" ")}.`);
}

const randomBase64 = () => btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(32))));

if (import.meta.main) {
  try {
    console.log(await operator(Deno.args, Deno.env.get("TUNEBASE_MASTER_KEY")));
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    console.error(`${error.message}\n\n${help}`);
    Deno.exit(2);
  }
}
