/**
 * One function's real app in its own process, which kills itself (SIGKILL) at a given crash point. Only for tests: the
 * functions contain no hooks for it. All effects of an app go through `platform.db` and `fetch`; both are wrapped here to
 * name and count each call.
 *
 * The argument names the function, which is imported before instructions arrive, so that processes can wait warm. Input: a
 * JSON line with the Instructions, or "end" to stop serving. Output: JSON lines with {port}, {effect} and {ended}.
 */
import { type Platform, platform } from "../../supabase/functions/_shared/platform.ts";
import { fetchName, sqlName } from "./effects.ts";

/** Imported on demand: loading one function takes half the CPU time of loading all three. */
const functions = {
  tunebase: {
    load: () => import("../../supabase/functions/tunebase/app.ts"),
    database: "TUNEBASE_API_DB_URL",
  },
  "tunebase-callback": {
    load: () => import("../../supabase/functions/tunebase-callback/app.ts"),
    database: "TUNEBASE_CALLBACK_DB_URL",
  },
  "tunebase-scheduler": {
    load: () => import("../../supabase/functions/tunebase-scheduler/app.ts"),
    database: "TUNEBASE_SCHEDULER_DB_URL",
  },
};
export type FunctionName = keyof typeof functions;
type Create = Awaited<ReturnType<(typeof functions)[FunctionName]["load"]>>["createApp"];

/** Where to crash: before or after the `nth` effect of this name. */
export interface CrashPoint {
  when: "before" | "after";
  effect: string;
  nth: number;
}

export interface Instructions {
  env: Record<string, string>;
  /** null: do not crash, only emit the effects. */
  crashAt: CrashPoint | null;
}

const emit = (line: unknown) => Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify(line)}\n`));

/** Runs a named effect; crashes before or after it if this is the crash point. */
function effects(crashAt: CrashPoint | null) {
  const counts = new Map<string, number>();
  return async function effect<T>(name: string, run: () => PromiseLike<T>): Promise<T> {
    const nth = (counts.get(name) ?? 0) + 1;
    counts.set(name, nth);
    const here = crashAt !== null && crashAt.effect === name && crashAt.nth === nth;
    emit({ effect: name });
    if (here && crashAt.when === "before") Deno.kill(Deno.pid, "SIGKILL");
    try {
      return await run();
    } finally {
      if (here) Deno.kill(Deno.pid, "SIGKILL");
    }
  };
}

const realFetch = globalThis.fetch;

function serve(create: Create, database: string, instructions: Instructions): { end(): Promise<void> } {
  const effect = effects(instructions.crashAt);
  const made: Platform = platform(database, { get: (name) => instructions.env[name] });
  made.log = () => undefined;
  const { db } = made;
  made.db = {
    value: (text, parameters) => effect(sqlName(text), () => db.value(text, parameters)),
    close: () => db.close(),
  };
  globalThis.fetch = (input, init) => effect(fetchName(input, init), () => realFetch(input, init));
  const background = new Set<Promise<unknown>>();
  made.waitUntil = (work) => void background.add(work.catch((error) => console.error("background:", error)));

  const app = create(made);
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: ({ port }) => emit({ port }) },
    (request) => app.fetch(request),
  );
  return {
    end: async () => {
      await Promise.all(background);
      await server.shutdown();
      await db.close();
    },
  };
}

if (import.meta.main) {
  const { load, database } = functions[Deno.args[0] as FunctionName];
  const { createApp } = await load();
  let text = "";
  let served: { end(): Promise<void> } | null = null;
  for await (const chunk of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const lines = text.split("\n");
    text = lines.pop() ?? "";
    for (const line of lines) {
      if (line === "end") {
        await served?.end();
        emit({ ended: true });
      } else served = serve(createApp, database, JSON.parse(line));
    }
  }
}
