/**
 * The functions' real apps in a process of their own, one instance after another, each of which dies at a crash point: from
 * then on none of its effects begins, nothing that it waits for arrives, and its caller gets the gateway's 503. Only for
 * tests: the functions contain no hooks for it. All effects of an app go through `platform.db` and `fetch`; both are wrapped
 * here to name and count each call.
 *
 * `tests/e2e/kill_test.ts` kills real processes. One for each crash point took two thirds of the CPU time of these tests.
 *
 * Input: JSON lines with Instructions, or "end" to end the instance. Output: JSON lines with {port}, {effect} and {ended}.
 */
import { createApp as createApi } from "../../supabase/functions/tunebase/app.ts";
import { createApp as createCallback } from "../../supabase/functions/tunebase-callback/app.ts";
import { createApp as createScheduler } from "../../supabase/functions/tunebase-scheduler/app.ts";
import { platform } from "../../supabase/functions/_shared/platform.ts";
import { fetchName, sqlName } from "./effects.ts";

const functions = {
  tunebase: { createApp: createApi, database: "TUNEBASE_API_DB_URL" },
  "tunebase-callback": { createApp: createCallback, database: "TUNEBASE_CALLBACK_DB_URL" },
  "tunebase-scheduler": { createApp: createScheduler, database: "TUNEBASE_SCHEDULER_DB_URL" },
};
export type FunctionName = keyof typeof functions;

/** Where to crash: before or after the `nth` effect of this name. */
export interface CrashPoint {
  when: "before" | "after";
  effect: string;
  nth: number;
}

export interface Instructions {
  of: FunctionName;
  env: Record<string, string>;
  /** null: do not crash, only emit the effects. */
  crashAt: CrashPoint | null;
}

/** What an instance was, when it has ended. */
export interface Ended {
  crashed: boolean;
  effects: string[];
}

const emit = (line: unknown) => Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify(line)}\n`));
const never = new Promise<never>(() => {});
const realFetch = globalThis.fetch;

class Instance {
  /** The names of the effects, in the order in which they began. */
  readonly #effects: string[] = [];
  readonly #background = new Set<Promise<unknown>>();
  readonly #crash = Promise.withResolvers<void>();
  readonly #close: () => Promise<void>;
  #crashed = false;

  constructor({ of, env, crashAt }: Instructions) {
    const { createApp, database } = functions[of];
    const made = platform(database, { get: (name) => env[name] });
    const { db } = made;
    made.log = () => undefined;
    made.db = {
      value: (text, parameters) => this.#effect(crashAt, sqlName(text), () => db.value(text, parameters)),
      close: () => db.close(),
    };
    made.waitUntil = (work) => void this.#background.add(work.catch((error) => console.error(error)));
    globalThis.fetch = (input, init) =>
      this.#effect(crashAt, fetchName(input, init), () => realFetch(input, init));
    const app = createApp(made);
    const server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen: ({ port }) => emit({ port }) },
      (request) => Promise.race([this.#answer(app, request), this.#crash.promise.then(unavailable)]),
    );
    this.#close = async () => {
      await server.shutdown();
      await db.close();
    };
  }

  /** Ends it when its background work is done, unless it has crashed or does meanwhile. */
  async end(): Promise<Ended> {
    await Promise.race([Promise.all(this.#background), this.#crash.promise]);
    await this.#close();
    return { crashed: this.#crashed, effects: this.#effects };
  }

  /** The whole answer: an instance that dies before its last byte has not answered. */
  async #answer(app: { fetch(request: Request): Response | Promise<Response> }, request: Request) {
    const response = await app.fetch(request);
    return new Response(await response.arrayBuffer(), response);
  }

  /** Runs a named effect; dies before or after it if this is the crash point. */
  async #effect<T>(crashAt: CrashPoint | null, name: string, run: () => PromiseLike<T>): Promise<T> {
    if (this.#crashed) return await never;
    this.#effects.push(name);
    const nth = this.#effects.filter((other) => other === name).length;
    const here = crashAt !== null && crashAt.effect === name && crashAt.nth === nth;
    if (here && crashAt.when === "before") return await this.#die();
    try {
      return await run();
    } finally {
      if (here || this.#crashed) await this.#die();
    }
  }

  #die(): Promise<never> {
    this.#crashed = true;
    this.#crash.resolve();
    return never;
  }
}

/** As the platform's gateway answers; the header only shortens the SDK's half-second retry delay. */
function unavailable(): Response {
  return Response.json({ code: "WORKER_ERROR", message: "the function crashed" }, {
    status: 503,
    headers: { "retry-after-ms": "10" },
  });
}

if (import.meta.main) {
  let text = "";
  let instance: Instance | null = null;
  for await (const chunk of Deno.stdin.readable.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const lines = text.split("\n");
    text = lines.pop() ?? "";
    for (const line of lines) {
      if (line === "end") emit({ ended: await instance?.end() });
      else instance = new Instance(JSON.parse(line));
    }
  }
  Deno.exit(); // crashed instances may have timers
}
