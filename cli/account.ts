/** `login`, `logout`, `whoami`: which server, which key. */
import process from "node:process";
import { type Schemas, unwrap } from "../client/mod.ts";
import { ask, canAsk, firstLine } from "./ask.ts";
import { addCommand, type Command, type Common, examples } from "./command.ts";
import { configPath, forgetSettings, normalUrl, storeSettings } from "./config.ts";
import { CliError, exits } from "./errors.ts";
import { note, print, printFacts, printJson } from "./output.ts";
import { openSession, sessionWith } from "./session.ts";

type Me = Schemas["Me"];

export function addAccount(program: Command): void {
  examples(
    addCommand(program, "login", "Store the server's address and an API key")
      .option(
        "--base-url <url>",
        "https://<ref>.supabase.co/functions/v1/tunebase; the project's own address will do",
      )
      .option("--api-key <key>", "tb_…; without it it is asked for, or read from stdin")
      .action(login),
    "login",
    "login --base-url https://<ref>.supabase.co < key.txt",
  );
  addCommand(program, "logout", "Forget the stored address and key").action(logout);
  addCommand(program, "whoami", "Show the server, the project and what the key may do").action(whoami);
}

async function login(options: Common & { baseUrl?: string; apiKey?: string }): Promise<void> {
  const given = options.baseUrl || process.env.TUNEBASE_BASE_URL ||
    (canAsk() ? await ask("Base URL: ") : "");
  if (!given) {
    throw new CliError("Name the server with --base-url.", exits.usage);
  }
  const baseUrl = normalUrl(given);
  const apiKey = options.apiKey || process.env.TUNEBASE_API_KEY ||
    (canAsk() ? await ask("API key (it is not shown): ", true) : await firstLine());
  if (!apiKey) {
    throw new CliError("Give the key with --api-key, or on stdin.", exits.usage);
  }
  const { api } = sessionWith({ baseUrl, apiKey, source: "login" });
  const me = unwrap(await api.GET("/me"));
  await storeSettings({ baseUrl, apiKey });
  if (options.json) return printJson(me);
  print(`Logged in to ${baseUrl}`);
  show(me);
  note(`Stored in ${configPath()}, which only you can read.`);
}

async function logout(options: Common): Promise<void> {
  const known = await forgetSettings();
  if (options.json) return;
  print(known ? "Logged out: the address and the key are forgotten." : "There was nothing to forget.");
  if (process.env.TUNEBASE_API_KEY) {
    note("TUNEBASE_API_KEY is still set in this shell.");
  }
}

async function whoami(options: Common): Promise<void> {
  const { api, baseUrl, source } = await openSession();
  const me = unwrap(await api.GET("/me"));
  if (options.json) return printJson(me);
  show(me, [["server", baseUrl], ["from", source]]);
}

function show(me: Me, more: [string, string][] = []): void {
  printFacts([
    ...more,
    ["user", me.user?.email],
    ["project", me.project === null ? null : `${me.project.name} (${me.project.id})`],
    ["role", me.role],
    ["key", me.api_key === null ? null : `${me.api_key.name} (${me.api_key.hint})`],
    ["may", me.scopes.join(", ")],
  ]);
}
