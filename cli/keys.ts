/** `keys`: API keys of the project. The key in use must be allowed to manage it (`project:admin`). */
import { type Schemas, unwrap } from "../client/mod.ts";
import { addCommand, addGroup, type Command, type Common, examples, seconds, whole } from "./command.ts";
import { note, print, printFacts, printJson, printTable, when } from "./output.ts";
import { openSession } from "./session.ts";
import type { BodyOf } from "./types.ts";

type Scope = NonNullable<BodyOf<"createApiKey">["scopes"]>[number];

export function addKeys(program: Command): void {
  const keys = addGroup(program, "keys", "API keys (the key in use needs the scope project:admin)");
  addCommand(keys, "list", "List the project's keys").option(
    "--limit <n>",
    "how many",
    whole(1),
    20,
  ).action(list);
  examples(
    addCommand(keys, "create <name>", "Make a key; it is shown once")
      .option("--scopes <scopes>", "with commas between; all but those of the project unless said")
      .option("--expires-in <time>", "after 1h, 30d, …", seconds)
      .action(create),
    "keys create ci --scopes files:write,jobs:write,jobs:read --expires-in 90d",
  );
  addCommand(keys, "revoke <key>", "Revoke a key, at once and for good").action(revoke);
}

async function list(options: Common & { limit: number }): Promise<void> {
  const { api } = await openSession();
  const page = unwrap(await api.GET("/api_keys", { params: { query: { limit: options.limit } } }));
  if (options.json) return printJson(page);
  printTable([
    ["ID", "NAME", "KEY", "SCOPES", "LAST USED", "STATE"],
    ...page.data.map((key) => [
      key.id,
      key.name,
      key.hint,
      key.scopes.join(","),
      key.last_used_at === null ? "never" : when(key.last_used_at),
      state(key),
    ]),
  ]);
}

function state({ revoked_at, expires_at }: Schemas["ApiKey"]): string {
  if (revoked_at !== null) return `revoked ${when(revoked_at)}`;
  if (expires_at === null) return "valid";
  return `${expires_at * 1000 < Date.now() ? "expired" : "valid until"} ${when(expires_at)}`;
}

async function create(
  name: string,
  options: Common & { scopes?: string; expiresIn?: number },
): Promise<void> {
  const { api } = await openSession();
  const { scopes, expiresIn } = options;
  const key = unwrap(
    await api.POST("/api_keys", {
      body: {
        name,
        // The API knows which there are, and says so.
        ...(scopes === undefined ? {} : { scopes: scopes.split(",").map((one) => one.trim()) as Scope[] }),
        ...(expiresIn === undefined ? {} : { expires_at: Math.floor(Date.now() / 1000) + expiresIn }),
      },
    }),
  );
  if (options.json) return printJson(key);
  print(key.key);
  printFacts([["id", key.id], ["may", key.scopes.join(", ")]]);
  note("It is shown only now.");
}

async function revoke(id: string, options: Common): Promise<void> {
  const { api } = await openSession();
  const revoked = unwrap(await api.DELETE("/api_keys/{id}", { params: { path: { id } } }));
  if (options.json) printJson(revoked);
  else print(`Revoked ${id}.`);
}
