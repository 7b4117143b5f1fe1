/** The directories and ports of the embedded stack, from the environment or by default. */
import { fromFileUrl, join } from "./paths.ts";

/** The checkout's root. */
export const root = fromFileUrl(new URL("../", import.meta.url));
/** Installed tools and converted models, shared by every stack of this checkout. */
export const cache = join(root, ".tunebase");

/** A stack's state directory: data, keys, logs. `TUNEBASE_HOME`, or `.tunebase`. */
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

/** Returns the port if it is free (0: any free port); otherwise throws an Error that names the setting to change. */
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
 * The same for a fixed port. An outgoing connection may hold it, on Linux for a minute longer than it lasts; with no
 * listener there, this waits for it.
 */
export async function namedPort(
  port: number,
  setting: string,
  log: (line: string) => void = () => {},
): Promise<number> {
  let logged = false;
  for (const end = Date.now() + 65_000;;) {
    try {
      return freePort(port, setting);
    } catch (error) {
      const inUse = error instanceof Error && error.cause instanceof Deno.errors.AddrInUse;
      if (!inUse || Date.now() > end || await somebodyListens(port)) throw error;
    }
    if (!logged) log(`port ${port} is held by a connection that has ended; waiting up to a minute …`);
    logged = true;
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
