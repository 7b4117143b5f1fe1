/**
 * Tracks the stack's processes. Every child has the stack's home in its environment (TUNEBASE_STACK), which its children
 * inherit, so the next start finds leftovers of a killed stack through /proc and ends them.
 */
import * as z from "zod";
import { join, removeIfThere, writePrivate } from "../paths.ts";

const mark = "TUNEBASE_STACK";

/** The environment entry that marks a stack's children. */
export const marked = (home: string): Record<string, string> => ({ [mark]: home });

const Running = z.object({ pid: z.int(), started: z.string(), url: z.string() });

/** The running stack of this home, or null; ignores the record of a dead one. */
export async function runningStack(home: string): Promise<{ pid: number; url: string } | null> {
  let text: string;
  try {
    text = await Deno.readTextFile(join(home, "stack.json"));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
  const found = Running.safeParse(JSON.parse(text));
  // The start time distinguishes this process from a later one with the same id.
  if (!found.success || await startTime(found.data.pid) !== found.data.started) return null;
  return { pid: found.data.pid, url: found.data.url };
}

/** Records this process as the home's stack. */
export async function recordStack(home: string, url: string): Promise<void> {
  const record = { pid: Deno.pid, started: await startTime(Deno.pid), url };
  await writePrivate(join(home, "stack.json"), JSON.stringify(record) + "\n");
}

/** Removes the record. */
export const forgetStack = (home: string): Promise<void> => removeIfThere(join(home, "stack.json"));

/** Ends leftover processes of a killed stack; returns their number. SIGTERM, then SIGKILL after 5 s. */
export async function endLeftovers(home: string): Promise<number> {
  const left = await leftovers(home);
  for (const pid of left) signal(pid, "SIGTERM");
  for (let waited = 0; waited < 50 && (await leftovers(home)).length > 0; waited++) await pause(100);
  for (const pid of await leftovers(home)) signal(pid, "SIGKILL");
  for (let waited = 0; waited < 50 && (await leftovers(home)).length > 0; waited++) await pause(20);
  return left.length;
}

async function leftovers(home: string): Promise<number[]> {
  const found: number[] = [];
  const ours = new TextEncoder().encode(`${mark}=${home}\0`);
  for await (const entry of Deno.readDir("/proc")) {
    const pid = Number(entry.name);
    if (!Number.isInteger(pid) || pid === Deno.pid) continue;
    try {
      const environment = await Deno.readFile(`/proc/${pid}/environ`);
      if (includes(environment, ours) && !await isZombie(pid)) found.push(pid);
    } catch (error) {
      // Ended in the meantime, or owned by another user.
      if (
        !(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied ||
          error instanceof Deno.errors.NotCapable || /ESRCH|os error 3\b/.test(String(error)))
      ) throw error;
    }
  }
  return found;
}

async function isZombie(pid: number): Promise<boolean> {
  const stat = await Deno.readTextFile(`/proc/${pid}/stat`);
  return stat.slice(stat.lastIndexOf(")") + 2).startsWith("Z");
}

function includes(data: Uint8Array, part: Uint8Array): boolean {
  // latin1 preserves every byte of the environment.
  const text = new TextDecoder("latin1");
  return (text.decode(data) + "\0").includes(text.decode(part));
}

async function startTime(pid: number): Promise<string> {
  try {
    const stat = await Deno.readTextFile(`/proc/${pid}/stat`);
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
  } catch {
    return "gone"; // it has ended
  }
}

/** Sends a signal; ignores processes that have ended. */
export function signal(pid: number, name: Deno.Signal): void {
  try {
    Deno.kill(pid, name);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound) && !/ESRCH/.test(String(error))) throw error;
  }
}

/** Waits. */
export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
