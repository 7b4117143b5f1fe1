/** `keys`: the project's API keys. The key in use needs `project:admin`. */
import { type Schemas, unwrap } from "../../client/mod.ts";
import { openSession } from "../api/session.ts";
import type { BodyOf } from "../api/types.ts";
import {
  addCommand,
  addExamples,
  addGroup,
  type Command,
  type CommonOptions,
  parseDuration,
  parseInteger,
  parseList,
} from "../command.ts";
import { formatTime } from "../terminal/format.ts";
import { print, printFields, printJson, printNote, printTable } from "../terminal/output.ts";

type Scope = NonNullable<BodyOf<"createApiKey">["scopes"]>[number];

export function addKeys(program: Command): void {
  const keys = addGroup(program, "keys", "Manage API keys (requires the scope project:admin)");
  addCommand(keys, "list", "List the project's API keys")
    .option("--limit <n>", "maximum number of keys", parseInteger(1), 20)
    .action(list);
  addExamples(
    addCommand(keys, "create <name>", "Create an API key; it is shown only once")
      .option("--scopes <scopes>", "comma-separated scopes (default: all except project scopes)", parseList)
      .option("--expires-in <duration>", "time until the key expires, such as 1h or 30d", parseDuration)
      .action(create),
    "keys create ci --scopes files:write,jobs:write,jobs:read --expires-in 90d",
  );
  addCommand(keys, "revoke <key>", "Revoke an API key immediately and permanently").action(revoke);
}

async function list(options: CommonOptions & { limit: number }): Promise<void> {
  const { api } = await openSession();
  const page = unwrap(await api.GET("/api_keys", { params: { query: { limit: options.limit } } }));
  if (options.json) return printJson(page);
  printTable([
    ["ID", "NAME", "KEY", "SCOPES", "LAST USED", "STATUS"],
    ...page.data.map((key) => [
      key.id,
      key.name,
      key.hint,
      key.scopes.join(","),
      key.last_used_at === null ? "never" : formatTime(key.last_used_at),
      describeStatus(key),
    ]),
  ]);
}

function describeStatus({ revoked_at, expires_at }: Schemas["ApiKey"]): string {
  if (revoked_at !== null) return `revoked ${formatTime(revoked_at)}`;
  if (expires_at === null) return "valid";
  return `${expires_at * 1000 < Date.now() ? "expired" : "valid until"} ${formatTime(expires_at)}`;
}

async function create(
  name: string,
  options: CommonOptions & { scopes?: string[]; expiresIn?: number },
): Promise<void> {
  const { api } = await openSession();
  const { scopes, expiresIn } = options;
  const key = unwrap(
    await api.POST("/api_keys", {
      body: {
        name,
        // The API reports unknown scopes and lists the valid ones.
        ...(scopes === undefined ? {} : { scopes: scopes as Scope[] }),
        ...(expiresIn === undefined ? {} : { expires_at: Math.floor(Date.now() / 1000) + expiresIn }),
      },
    }),
  );
  if (options.json) return printJson(key);
  print(key.key);
  printFields([["id", key.id], ["scopes", key.scopes.join(", ")]]);
  printNote("Copy the key now: it is not shown again.");
}

async function revoke(id: string, options: CommonOptions): Promise<void> {
  const { api } = await openSession();
  const revoked = unwrap(await api.DELETE("/api_keys/{id}", { params: { path: { id } } }));
  if (options.json) printJson(revoked);
  else print(`Revoked ${id}.`);
}
