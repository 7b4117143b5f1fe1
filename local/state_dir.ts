/** Where the embedded stack lives, and its settings: each from the environment, with a default. */
import { fromFileUrl, join } from "./paths.ts";

/** The checkout's root. */
export const root = fromFileUrl(new URL("../", import.meta.url));
/** What is installed and converted once, shared by every stack of this checkout. */
export const cache = join(root, ".tunebase");

/** A stack's own folder: data, keys, logs. `TUNEBASE_HOME`, else `.tunebase`. */
export function homeDirectory(): string {
  const named = Deno.env.get("TUNEBASE_HOME");
  return named ? join(Deno.cwd(), named) : cache;
}

/** A port from the environment; 0 picks a free one. Throws an Error that names the setting. */
export function portSetting(name: "TUNEBASE_PORT" | "TUNEBASE_DB_PORT", fallback: number): number {
  const text = Deno.env.get(name);
  if (!text) return fallback;
  const port = Number(text);
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new Error(`${name}=${text} must be a port from 1 to 65535, or 0 for any that is free.`);
  }
  return port;
}

/** Takes the port if it is free (0: any), or throws an Error that names the setting to change. */
export function freePort(port: number, setting: string): number {
  try {
    const listener = Deno.listen({ hostname: "127.0.0.1", port });
    const found = listener.addr.port;
    listener.close();
    return found;
  } catch (error) {
    if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    throw new Error(
      `Port ${port} is in use. Set ${setting} to another one (or 0 for any that is free), or stop what uses it.`,
      { cause: error },
    );
  }
}

/**
 * The same for a port that has a name, which may be held by a connection that went out from it, and on Linux for a minute
 * after that: nobody listens there, and it is waited for.
 */
export async function namedPort(
  port: number,
  setting: string,
  log: (line: string) => void = () => {},
): Promise<number> {
  let told = false;
  for (const end = Date.now() + 65_000;;) {
    try {
      return freePort(port, setting);
    } catch (error) {
      const inUse = error instanceof Error && error.cause instanceof Deno.errors.AddrInUse;
      if (!inUse || Date.now() > end || await somebodyListens(port)) throw error;
    }
    if (!told) log(`port ${port} is held by a connection that has ended; waiting up to a minute …`);
    told = true;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

async function somebodyListens(port: number): Promise<boolean> {
  try {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return true;
  } catch {
    return false;
  }
}
