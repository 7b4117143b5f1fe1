/** `login`, `logout` and `whoami`. */
import process from "node:process";
import { type Schemas, unwrap } from "../../client/mod.ts";
import { createSession, openSession } from "../api/session.ts";
import { configPath, deleteSettings, normalizeBaseUrl, storeSettings } from "../api/settings.ts";
import { addCommand, addExamples, type Command, type CommonOptions } from "../command.ts";
import { CliError, exitCodes } from "../errors.ts";
import { print, printFields, printJson, printNote } from "../terminal/output.ts";
import { ask, isInteractive, readFirstLine } from "../terminal/prompt.ts";

type Me = Schemas["Me"];

export function addAccount(program: Command): void {
  addExamples(
    addCommand(program, "login", "Log in to a server with an API key")
      .option(
        "--base-url <url>",
        "the API's URL, or the Supabase project's URL (https://<ref>.supabase.co)",
      )
      .option("--api-key <key>", "API key (tb_…); without it, the CLI prompts or reads stdin")
      .action(login),
    "login",
    "login --base-url https://<ref>.supabase.co < key.txt",
  );
  addCommand(program, "logout", "Delete the stored URL and API key").action(logout);
  addCommand(program, "whoami", "Show the server, the project and the key's scopes").action(whoami);
}

async function login(options: CommonOptions & { baseUrl?: string; apiKey?: string }): Promise<void> {
  const url = options.baseUrl || process.env.TUNEBASE_BASE_URL ||
    (isInteractive() ? await ask("Base URL: ") : "");
  if (!url) {
    throw new CliError("No server given. Pass its URL with --base-url.", exitCodes.usage);
  }
  const baseUrl = normalizeBaseUrl(url);
  const apiKey = options.apiKey || process.env.TUNEBASE_API_KEY ||
    (isInteractive() ? await ask("API key (hidden): ", true) : await readFirstLine());
  if (!apiKey) {
    throw new CliError("No API key given. Pass it with --api-key or on stdin.", exitCodes.usage);
  }
  const { api } = createSession({ baseUrl, apiKey, source: "login" });
  const me = unwrap(await api.GET("/me"));
  await storeSettings({ baseUrl, apiKey });
  if (options.json) return printJson(me);
  print(`Logged in to ${baseUrl}`);
  printMe(me);
  printNote(`Saved to ${configPath()}, readable only by you.`);
}

async function logout(options: CommonOptions): Promise<void> {
  const wasLoggedIn = await deleteSettings();
  if (options.json) return;
  print(wasLoggedIn ? "Logged out. The stored URL and API key were deleted." : "You were not logged in.");
  if (process.env.TUNEBASE_API_KEY) {
    printNote("TUNEBASE_API_KEY is still set in this shell.");
  }
}

async function whoami(options: CommonOptions): Promise<void> {
  const { api, baseUrl, source } = await openSession();
  const me = unwrap(await api.GET("/me"));
  if (options.json) return printJson(me);
  printMe(me, [["server", baseUrl], ["settings from", source]]);
}

function printMe(me: Me, fields: [string, string][] = []): void {
  printFields([
    ...fields,
    ["user", me.user?.email],
    ["project", me.project === null ? null : `${me.project.name} (${me.project.id})`],
    ["role", me.role],
    ["key", me.api_key === null ? null : `${me.api_key.name} (${me.api_key.hint})`],
    ["scopes", me.scopes.join(", ")],
  ]);
}
