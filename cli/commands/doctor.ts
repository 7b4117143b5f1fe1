/** `doctor`: checks the setup, or an installation, and says how to fix problems. */
import { stat } from "node:fs/promises";
import process from "node:process";
import { unwrap } from "../../client/mod.ts";
import { createSession } from "../api/session.ts";
import { configPath, readSettings, type Settings } from "../api/settings.ts";
import { addCommand, addExamples, type Command, type CommonOptions } from "../command.ts";
import { parseProfile } from "../../deploy/options.ts";
import { addBillOptions, diagnose } from "../../deploy/doctor/command.ts";
import { exitCodes, formatError, networkErrorReason } from "../errors.ts";
import { formatTime } from "../terminal/format.ts";
import { print, printJson, stdoutColors } from "../terminal/output.ts";
import { version } from "../version.ts";

interface Check {
  name: string;
  ok: boolean;
  /** The result, for display. */
  found: string;
  /** How to fix a problem. */
  fix?: string;
}

/** The scopes that working with files and jobs needs. */
const requiredScopes = ["files:read", "files:write", "jobs:read", "jobs:write", "models:read"];
/** The server rejects signatures that are five minutes off; warn well before that. */
const maxClockSkewSeconds = 30;
const timeoutMs = 15_000;
const minNodeVersion = 20;
const retryLater = "Try again shortly. If it persists, contact the server's operator.";

export function addDoctor(program: Command): void {
  const command = addCommand(
    program,
    "doctor",
    "Diagnose problems with your settings and the server; with --profile, an installation that you deployed",
  ).option(
    "--profile <name>",
    "diagnose this installation on Supabase and RunPod, for its operator",
    parseProfile,
  );
  addExamples(
    addBillOptions(command).action(doctor),
    "doctor",
    "doctor --profile default",
    "doctor --profile default --bills --days 30",
  );
}

interface DoctorOptions extends CommonOptions {
  profile?: string;
  bills?: boolean;
  days?: number;
}

async function doctor(options: DoctorOptions): Promise<void> {
  if (options.profile !== undefined || options.bills || options.days !== undefined) {
    return await diagnose({ ...options, profile: options.profile ?? "default", target: "hosted" });
  }
  const checks: Check[] = [];
  const add = (check: Check) => {
    checks.push(check);
    if (options.json) return;
    const mark = check.ok ? stdoutColors.green("ok  ") : stdoutColors.red("FAIL");
    print(`${mark}  ${check.name}: ${check.found}`);
    if (check.fix) print(`      ${check.fix}`);
  };
  add(checkRuntime());
  let settings: Settings | null = null;
  try {
    settings = await readSettings();
    add({ name: "settings", ok: true, found: settings.source });
  } catch (error) {
    const [found = "", fix = "Run `tunebase login`."] = formatError(error).split(/(?<=\.)\s(.*)/s);
    add({ name: "settings", ok: false, found, fix });
  }
  if (settings !== null) {
    if (settings.source === configPath()) add(await checkFileMode());
    if (await checkServer(settings, add)) {
      await checkKey(settings, add);
      await checkModels(settings, add);
      add(await checkStorage(settings));
    }
  }
  const ok = checks.every((check) => check.ok);
  if (options.json) printJson({ object: "doctor", ok, checks });
  if (!ok) process.exitCode = exitCodes.failed;
}

function checkRuntime(): Check {
  const { deno, node } = process.versions;
  const found = `tunebase ${version} on ${
    deno ? `Deno ${deno}` : `Node ${node}`
  }, ${process.platform} ${process.arch}`;
  const isOutdated = !deno && Number(node.split(".")[0]) < minNodeVersion;
  return {
    name: "runtime",
    ok: !isOutdated,
    found,
    ...(isOutdated ? { fix: `Install Node ${minNodeVersion} or later.` } : {}),
  };
}

async function checkFileMode(): Promise<Check> {
  const mode = (await stat(configPath())).mode & 0o777;
  const isExposed = process.platform !== "win32" && (mode & 0o077) !== 0;
  return {
    name: "key file permissions",
    ok: !isExposed,
    found: isExposed ? `other users can read the key (mode ${mode.toString(8)})` : "readable only by you",
    ...(isExposed ? { fix: `chmod 600 ${configPath()}` } : {}),
  };
}

/** Returns whether the server responds, so that further checks make sense. */
async function checkServer(settings: Settings, add: (check: Check) => void): Promise<boolean> {
  const startedAt = performance.now();
  const { fetch } = createSession(settings, { retry: false });
  try {
    const response = await fetch("/health", { signal: AbortSignal.timeout(timeoutMs) });
    const ms = Math.round(performance.now() - startedAt);
    const body = await response.json().catch(() => null) as
      | { status?: string; database?: string; storage?: string }
      | null;
    if (body?.status === undefined) {
      add({
        name: "server",
        ok: false,
        found: `${settings.baseUrl} responds with ${response.status}, but is not a Tunebase API`,
        fix: "Check the base URL. It ends in /functions/v1/tunebase.",
      });
      return false;
    }
    const ok = body.status === "ok";
    add({
      name: "server",
      ok,
      found: ok
        ? `${settings.baseUrl}, ${ms} ms`
        : `reachable, but its database is ${body.database} and its Storage is ${body.storage}`,
      ...(ok ? {} : { fix: retryLater }),
    });
    add(checkClock(response));
    return true;
  } catch (error) {
    const reason = error instanceof Error && error.name === "TimeoutError"
      ? `no response within ${timeoutMs / 1000} s`
      : networkErrorReason(error);
    add({
      name: "server",
      ok: false,
      found: `could not reach ${settings.baseUrl}: ${reason}`,
      fix: "Check the base URL and your network, and that the Supabase project is not paused.",
    });
    return false;
  }
}

function checkClock(response: Response): Check {
  const date = Date.parse(response.headers.get("date") ?? "");
  if (Number.isNaN(date)) {
    return { name: "clock", ok: true, found: "not checked: the server sent no date" };
  }
  const seconds = Math.round((Date.now() - date) / 1000);
  const ok = Math.abs(seconds) <= maxClockSkewSeconds;
  return {
    name: "clock",
    ok,
    found: ok
      ? `within ${Math.max(1, Math.abs(seconds))} s of the server's clock`
      : `${Math.abs(seconds)} s ${seconds > 0 ? "ahead of" : "behind"} the server's clock`,
    ...(ok ? {} : { fix: "Synchronize this machine's clock (NTP): signatures and tokens depend on it." }),
  };
}

async function checkKey(settings: Settings, add: (check: Check) => void): Promise<void> {
  try {
    const me = unwrap(await createSession(settings, { retry: false }).api.GET("/me"));
    const expires = me.api_key?.expires_at ?? null;
    add({
      name: "key",
      ok: true,
      found: `${me.api_key?.name ?? "a user's access token"}, project ${me.project?.name ?? "none"}${
        expires === null ? "" : `, valid until ${formatTime(expires)}`
      }`,
    });
    const missing = requiredScopes.filter((scope) => !me.scopes.includes(scope));
    const ok = missing.length === 0;
    add({
      name: "scopes",
      ok,
      found: ok ? me.scopes.join(", ") : `missing ${missing.join(", ")}`,
      ...(ok ? {} : { fix: "Log in with a key that has these scopes." }),
    });
  } catch (error) {
    add({ name: "key", ok: false, found: formatError(error).replaceAll("\n", " ") });
  }
}

async function checkModels(settings: Settings, add: (check: Check) => void): Promise<void> {
  try {
    const { data } = unwrap(await createSession(settings, { retry: false }).api.GET("/models"));
    const bases = data.filter((model) => "gpu" in model).map(({ id }) => id);
    const ok = bases.length > 0;
    add({
      name: "models",
      ok,
      found: ok ? bases.join(", ") : "no base models are available",
      ...(ok ? {} : { fix: "Ask the server's operator to add one (see docs/deploy.md)." }),
    });
  } catch (error) {
    add({ name: "models", ok: false, found: formatError(error).replaceAll("\n", " ") });
  }
}

/** Large uploads and downloads bypass the API. Any response from Storage shows that it is reachable. */
async function checkStorage(settings: Settings): Promise<Check> {
  const url = new URL("/storage/v1/upload/resumable", settings.baseUrl);
  const address = `${url.origin}/storage/v1`;
  try {
    const response = await fetch(url, { method: "OPTIONS", signal: AbortSignal.timeout(timeoutMs) });
    await response.body?.cancel();
    if (response.status < 500) {
      return { name: "Storage", ok: true, found: `${address} is reachable` };
    }
    return {
      name: "Storage",
      ok: false,
      found: `${address} responds with ${response.status}`,
      fix: retryLater,
    };
  } catch (error) {
    return {
      name: "Storage",
      ok: false,
      found: `could not reach ${address}: ${networkErrorReason(error)}`,
      fix: "Large uploads and downloads need it. Allow this address in your proxy or firewall.",
    };
  }
}
