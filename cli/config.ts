/** Where the server is and who calls: from the environment, else from a file that only its owner can read. */
import { chmod, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { CliError, exits } from "./errors.ts";

export interface Settings {
  /** Without a slash at the end. */
  baseUrl: string;
  apiKey: string;
  /** Where they come from, in words. */
  source: string;
}

interface Stored {
  base_url: string;
  api_key: string;
}

/** Our own folder in `$XDG_CONFIG_HOME`, else in `~/.config`. */
export function configPath(name = "config.json"): string {
  return join(process.env.XDG_CONFIG_HOME || join(homedir(), ".config"), "tunebase", name);
}

/** Reads the settings. Throws a CliError that says how to log in where there are none. */
export async function readSettings(): Promise<Settings> {
  const stored = await readStored();
  const { TUNEBASE_BASE_URL: envUrl, TUNEBASE_API_KEY: envKey } = process.env;
  const baseUrl = envUrl ? normalUrl(envUrl) : stored?.base_url;
  if (!baseUrl) {
    throw new CliError("Not logged in. Run `tunebase login`, or set TUNEBASE_BASE_URL and TUNEBASE_API_KEY.");
  }
  // A key is sent to no other server than the one that it was stored for.
  if (!envKey && stored !== null && stored.base_url !== baseUrl) {
    throw new CliError(
      `TUNEBASE_BASE_URL is ${baseUrl}, and the stored key belongs to ${stored.base_url}.\n` +
        "Set TUNEBASE_API_KEY too, or run `tunebase login`.",
    );
  }
  const apiKey = envKey || stored?.api_key;
  if (!apiKey) {
    throw new CliError("There is no API key. Run `tunebase login`, or set TUNEBASE_API_KEY.");
  }
  const fromEnv = [
    envUrl ? "TUNEBASE_BASE_URL" : null,
    envKey ? "TUNEBASE_API_KEY" : null,
  ].filter((one) => one !== null);
  return { baseUrl, apiKey, source: fromEnv.length > 0 ? fromEnv.join(" and ") : configPath() };
}

async function readStored(): Promise<Stored | null> {
  const text = await readIfThere(configPath());
  if (text === null) return null;
  const value = parsed(text);
  if (typeof value.base_url !== "string" || typeof value.api_key !== "string") {
    throw new CliError(
      `${configPath()} is damaged. Run \`tunebase login\` to write it anew.`,
    );
  }
  return { base_url: value.base_url, api_key: value.api_key };
}

function parsed(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return value !== null && typeof value === "object" ? { ...value } : {};
  } catch {
    return {}; // told by who reads it
  }
}

/** Stores the settings for later calls. */
export async function storeSettings({ baseUrl, apiKey }: Omit<Settings, "source">): Promise<void> {
  await writePrivate(configPath(), JSON.stringify({ base_url: baseUrl, api_key: apiKey }, null, 2) + "\n");
}

/** Forgets them; says whether there were any. */
export async function forgetSettings(): Promise<boolean> {
  const known = await readIfThere(configPath()) !== null;
  await rm(configPath(), { force: true });
  return known;
}

/** The file's text, or null where there is none. */
export async function readIfThere(path: string): Promise<string | null> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") {
      return null;
    }
    throw error;
  }
}

/** Writes a file whole or not at all, mode 600, in a folder of mode 700. */
export async function writePrivate(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFile(`${path}.new`, text, { mode: 0o600 });
  await chmod(`${path}.new`, 0o600); // one that lay there keeps its mode
  await rename(`${path}.new`, path);
}

/** The API's address; of a bare origin, as Supabase shows a project's, where the API lies there. */
export function normalUrl(text: string): string {
  let url: URL;
  try {
    url = new URL(/^[a-z]+:\/\//i.test(text) ? text : `https://${text}`);
  } catch {
    throw new CliError(
      `The base URL ${JSON.stringify(text)} is no URL. It looks like ${example}`,
      exits.usage,
    );
  }
  if (url.protocol !== "https:" && url.protocol !== "http:") {
    throw new CliError(
      `The base URL ${text} must begin with https://. It looks like ${example}`,
      exits.usage,
    );
  }
  const path = url.pathname.replace(/\/+$/, "");
  return `${url.origin}${path === "" ? "/functions/v1/tunebase" : path}`;
}

const example = "https://<ref>.supabase.co/functions/v1/tunebase";
