/**
 * One function's real app in a process of its own, which kills itself (SIGKILL) at the place that it is told. Only for
 * tests: the functions know nothing of it. What an app does to the world goes through `platform.db` and `fetch`; both
 * are wrapped here, each call gets a name and is counted.
 *
 * The argument names the function. It is imported before an order comes, so that a few of these can wait warm. In: a JSON
 * line, the Order; "end" when it shall serve no more, and the next order may come. Out: JSON lines, {port}, {effect} and
 * {ended}.
 */
import { type Platform, platform } from "../../supabase/functions/_shared/platform.ts";
import { fetchName, sqlName } from "./effects.ts";

/** Imported by need: a process of one function starts in half the CPU time of one that loads all three. */
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

/** Where to die: at the `nth` effect of this name, before it begins or after it has happened. */
export interface Place {
  when: "before" | "after";
  effect: string;
  nth: number;
}

export interface Order {
  env: Record<string, string>;
  /** null: live, and tell the effects. */
  die: Place | null;
}

const tell = (line: unknown) => Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify(line)}\n`));

/** Runs an effect under its name; dies before or after it if this is the place. */
function effects(die: Place | null) {
  const counts = new Map<string, number>();
  return async function effect<T>(name: string, run: () => PromiseLike<T>): Promise<T> {
    const nth = (counts.get(name) ?? 0) + 1;
    counts.set(name, nth);
    const here = die !== null && die.effect === name && die.nth === nth;
    tell({ effect: name });
    if (here && die.when === "before") Deno.kill(Deno.pid, "SIGKILL");
    try {
      return await run();
    } finally {
      if (here) Deno.kill(Deno.pid, "SIGKILL");
    }
  };
}

const realFetch = globalThis.fetch;

function serve(create: Create, database: string, order: Order): { end(): Promise<void> } {
  const effect = effects(order.die);
  const made: Platform = platform(database, { get: (name) => order.env[name] });
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
    { hostname: "127.0.0.1", port: 0, onListen: ({ port }) => tell({ port }) },
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
        tell({ ended: true });
      } else served = serve(createApp, database, JSON.parse(line));
    }
  }
}
