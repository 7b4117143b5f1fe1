/** The base URL and the API key: from the environment, or from a file that only its owner can read. */
import { chmod, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { CliError, exitCodes } from "../errors.ts";

export interface Settings {
  /** Without a trailing slash. */
  baseUrl: string;
  apiKey: string;
  /** The source of the settings, for display. */
  source: string;
}

interface StoredSettings {
  base_url: string;
  api_key: string;
}

/** A file in `$XDG_CONFIG_HOME/tunebase`, or in `~/.config/tunebase`. */
export function configPath(name = "config.json"): string {
  return join(process.env.XDG_CONFIG_HOME || join(homedir(), ".config"), "tunebase", name);
}

/** Reads the settings. Throws a CliError that explains how to log in when there are none. */
export async function readSettings(): Promise<Settings> {
  const stored = await readStored();
  const { TUNEBASE_BASE_URL: envUrl, TUNEBASE_API_KEY: envKey } = process.env;
  const baseUrl = envUrl ? normalizeBaseUrl(envUrl) : stored?.base_url;
  if (!baseUrl) {
    throw new CliError("Not logged in. Run `tunebase login`, or set TUNEBASE_BASE_URL and TUNEBASE_API_KEY.");
  }
  // Never send a key to a server other than the one it was stored for.
  if (!envKey && stored !== null && stored.base_url !== baseUrl) {
    throw new CliError(
      `TUNEBASE_BASE_URL is ${baseUrl}, but the stored key belongs to ${stored.base_url}.\n` +
        "Set TUNEBASE_API_KEY too, or run `tunebase login`.",
    );
  }
  const apiKey = envKey || stored?.api_key;
  if (!apiKey) {
    throw new CliError("No API key is configured. Run `tunebase login`, or set TUNEBASE_API_KEY.");
  }
  const fromEnv = [
    envUrl ? "TUNEBASE_BASE_URL" : null,
    envKey ? "TUNEBASE_API_KEY" : null,
  ].filter((name) => name !== null);
  return { baseUrl, apiKey, source: fromEnv.length > 0 ? fromEnv.join(" and ") : configPath() };
}

async function readStored(): Promise<StoredSettings | null> {
  const text = await readIfExists(configPath());
  if (text === null) return null;
  const value = parseObject(text);
  if (typeof value.base_url !== "string" || typeof value.api_key !== "string") {
    throw new CliError(`${configPath()} is damaged. Run \`tunebase login\` to replace it.`);
  }
  return { base_url: value.base_url, api_key: value.api_key };
}

/** The JSON object, or an empty one; the caller reports missing fields. */
function parseObject(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return value !== null && typeof value === "object" ? { ...value } : {};
  } catch {
    return {};
  }
}

export async function storeSettings({ baseUrl, apiKey }: Omit<Settings, "source">): Promise<void> {
  await writePrivate(configPath(), JSON.stringify({ base_url: baseUrl, api_key: apiKey }, null, 2) + "\n");
}

/** Deletes the stored settings; returns whether there were any. */
export async function deleteSettings(): Promise<boolean> {
  const existed = await readIfExists(configPath()) !== null;
  await rm(configPath(), { force: true });
  return existed;
}

/** The file's text, or null when it does not exist. */
export async function readIfExists(path: string): Promise<string | null> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") {
      return null;
    }
    throw error;
  }
}

/** Writes a file atomically with mode 600, in a folder with mode 700. */
export async function writePrivate(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFile(`${path}.new`, text, { mode: 0o600 });
  await chmod(`${path}.new`, 0o600); // `mode` does not apply to a leftover file
  await rename(`${path}.new`, path);
}

/** The API's URL. Accepts a bare origin, as Supabase shows it for a project, and adds the path of the function. */
export function normalizeBaseUrl(text: string): string {
  let url: URL;
  try {
    url = new URL(/^[a-z]+:\/\//i.test(text) ? text : `https://${text}`);
  } catch {
    throw new CliError(
      `The base URL ${JSON.stringify(text)} is not a valid URL. Example: ${exampleUrl}`,
      exitCodes.usage,
    );
  }
  if (url.protocol !== "https:" && url.protocol !== "http:") {
    throw new CliError(
      `The base URL ${text} must start with https://. Example: ${exampleUrl}`,
      exitCodes.usage,
    );
  }
  const path = url.pathname.replace(/\/+$/, "");
  return `${url.origin}${path === "" ? "/functions/v1/tunebase" : path}`;
}

const exampleUrl = "https://<ref>.supabase.co/functions/v1/tunebase";
