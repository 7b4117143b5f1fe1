/** `doctor`: is everything in place, and what to do where it is not. */
import { stat } from "node:fs/promises";
import process from "node:process";
import { unwrap } from "../client/mod.ts";
import { addCommand, type Command, type Common } from "./command.ts";
import { configPath, readSettings, type Settings } from "./config.ts";
import { exits, explain, networkReason } from "./errors.ts";
import { paint, print, printJson } from "./output.ts";
import { sessionWith } from "./session.ts";
import { version } from "./version.ts";

interface Check {
  name: string;
  ok: boolean;
  /** What was found. */
  found: string;
  /** What to do. */
  fix?: string;
}

/** What working with files and jobs needs. */
const needed = ["files:read", "files:write", "jobs:read", "jobs:write", "models:read"];
/** Signatures with a time are refused after five minutes: half a minute is worth a word. */
const mostSkewSeconds = 30;

export function addDoctor(program: Command): void {
  addCommand(
    program,
    "doctor",
    "Check the settings, the server and this machine, and say what to do",
  ).action(doctor);
}

async function doctor(options: Common): Promise<void> {
  const checks: Check[] = [];
  const add = (check: Check) => {
    checks.push(check);
    if (options.json) return;
    print(`${check.ok ? paint.green("ok ") : paint.red("no ")}  ${check.name}: ${check.found}`);
    if (check.fix) print(`     ${check.fix}`);
  };
  add(runtime());
  let settings: Settings | null = null;
  try {
    settings = await readSettings();
    add({ name: "settings", ok: true, found: settings.source });
  } catch (error) {
    const [found = "", fix = "Run `tunebase login`."] = explain(error).split(/(?<=\.)\s(.*)/s);
    add({ name: "settings", ok: false, found, fix });
  }
  if (settings !== null) {
    if (settings.source === configPath()) add(await fileMode());
    if (await server(settings, add)) {
      await key(settings, add);
      await models(settings, add);
      add(await storage(settings));
    }
  }
  if (options.json) {
    printJson({ object: "doctor", ok: checks.every(({ ok }) => ok), checks });
  }
  if (!checks.every(({ ok }) => ok)) process.exitCode = exits.failed;
}

function runtime(): Check {
  const { deno, node } = process.versions;
  const found = `tunebase ${version} on ${
    deno ? `Deno ${deno}` : `Node ${node}`
  }, ${process.platform} ${process.arch}`;
  const old = !deno && Number(node.split(".")[0]) < 20;
  return { name: "program", ok: !old, found, ...(old ? { fix: "Install Node 20 or newer." } : {}) };
}

async function fileMode(): Promise<Check> {
  const mode = (await stat(configPath())).mode & 0o777;
  const open = process.platform !== "win32" && (mode & 0o077) !== 0;
  return {
    name: "who can read the key",
    ok: !open,
    found: open ? `others too (mode ${mode.toString(8)})` : "only you",
    ...(open ? { fix: `chmod 600 ${configPath()}` } : {}),
  };
}

/** Whether there is anything to ask further. */
async function server(settings: Settings, add: (check: Check) => void): Promise<boolean> {
  const begin = performance.now();
  const { fetch } = sessionWith(settings, false);
  try {
    const response = await fetch("/health", { signal: AbortSignal.timeout(15_000) });
    const ms = Math.round(performance.now() - begin);
    const body = await response.json().catch(() => null) as
      | { status?: string; database?: string; storage?: string }
      | null;
    if (body?.status === undefined) {
      add({
        name: "server",
        ok: false,
        found: `${settings.baseUrl} answers ${response.status}, and not as this API does`,
        fix: "Check the base URL; it ends in /functions/v1/tunebase.",
      });
      return false;
    }
    const ok = body.status === "ok";
    add({
      name: "server",
      ok,
      found: ok
        ? `${settings.baseUrl}, ${ms} ms`
        : `it is up, its database is ${body.database} and its Storage ${body.storage}`,
      ...(ok ? {} : { fix: "Try again in a moment; else its operator must look." }),
    });
    add(skew(response));
    return true;
  } catch (error) {
    const reason = error instanceof Error && error.name === "TimeoutError"
      ? "it did not answer in 15 s"
      : networkReason(error);
    add({
      name: "server",
      ok: false,
      found: `${settings.baseUrl} could not be reached: ${reason}`,
      fix: "Check the base URL, the network, and that the server is up (a paused Supabase project is not).",
    });
    return false;
  }
}

function skew(response: Response): Check {
  const date = Date.parse(response.headers.get("date") ?? "");
  if (Number.isNaN(date)) {
    return { name: "clock", ok: true, found: "the server does not tell its time" };
  }
  const seconds = Math.round((Date.now() - date) / 1000);
  const ok = Math.abs(seconds) <= mostSkewSeconds;
  return {
    name: "clock",
    ok,
    found: ok
      ? `within ${Math.max(1, Math.abs(seconds))} s of the server's`
      : `${Math.abs(seconds)} s ${seconds > 0 ? "ahead of" : "behind"} the server's`,
    ...(ok ? {} : { fix: "Set this machine's clock (NTP): signatures and tokens carry the time." }),
  };
}

async function key(settings: Settings, add: (check: Check) => void): Promise<void> {
  try {
    const me = unwrap(await sessionWith(settings, false).api.GET("/me"));
    const expires = me.api_key?.expires_at ?? null;
    add({
      name: "key",
      ok: true,
      found: `${me.api_key?.name ?? "a user's token"}, project ${me.project?.name ?? "none"}${
        expires === null ? "" : `, valid until ${new Date(expires * 1000).toLocaleString("sv-SE")}`
      }`,
    });
    const missing = needed.filter((scope) => !me.scopes.includes(scope));
    add({
      name: "scopes",
      ok: missing.length === 0,
      found: missing.length === 0 ? me.scopes.join(", ") : `${missing.join(", ")} are missing`,
      ...(missing.length === 0 ? {} : { fix: "Log in with a key that has them." }),
    });
  } catch (error) {
    add({ name: "key", ok: false, found: explain(error).replaceAll("\n", " ") });
  }
}

async function models(settings: Settings, add: (check: Check) => void): Promise<void> {
  try {
    const { data } = unwrap(await sessionWith(settings, false).api.GET("/models"));
    const bases = data.filter((model) => "gpu" in model).map(({ id }) => id);
    const ok = bases.length > 0;
    add({
      name: "models",
      ok,
      found: ok ? bases.join(", ") : "none is on offer",
      ...(ok ? {} : { fix: "The server's operator must add one (docs/deploy.md)." }),
    });
  } catch (error) {
    add({ name: "models", ok: false, found: explain(error).replaceAll("\n", " ") });
  }
}

/** Large uploads and downloads go to Storage itself, past the API. Any answer of its own says that it can be reached. */
async function storage(settings: Settings): Promise<Check> {
  const url = new URL("/storage/v1/upload/resumable", settings.baseUrl);
  try {
    const response = await fetch(url, { method: "OPTIONS", signal: AbortSignal.timeout(15_000) });
    await response.body?.cancel();
    if (response.status < 500) {
      return { name: "Storage", ok: true, found: `${url.origin}/storage/v1 answers this machine` };
    }
    return {
      name: "Storage",
      ok: false,
      found: `${url.origin}/storage/v1 answers ${response.status}`,
      fix: "Try again in a moment; else its operator must look.",
    };
  } catch (error) {
    return {
      name: "Storage",
      ok: false,
      found: `${url.origin}/storage/v1 could not be reached: ${networkReason(error)}`,
      fix: "Large uploads and downloads go there: let a proxy or firewall pass it.",
    };
  }
}
