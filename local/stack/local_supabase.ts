/** The Supabase CLI's local stack: the real services of Supabase, in containers of this machine. */
import * as z from "zod";
import { root } from "../state_dir.ts";
import { pause, signal } from "./processes.ts";

/** What `supabase status` reports. */
export interface LocalProject {
  url: string;
  dbUrl: string;
  publishableKey: string;
  secretKey: string;
  /** Signs Auth's tokens, unless the project has signing keys. */
  jwtSecret: string;
}

/** The commands that `task dev --supabase` needs. */
export interface LocalSupabase {
  /** The running project, or null. */
  status(): Promise<LocalProject | null>;
  start(): Promise<void>;
  /** Serves the functions of this checkout, with the environment of a file. Its output goes to `logFile`. */
  serve(envFile: string, logFile: string): Promise<Served>;
  /** Stops the containers; their data is kept. */
  stop(): Promise<void>;
}

export interface Served {
  /** Resolves when it ends, for any reason. */
  ended: Promise<void>;
  stop(): Promise<void>;
}

const Status = z.object({
  API_URL: z.url(),
  DB_URL: z.url(),
  PUBLISHABLE_KEY: z.string(),
  SECRET_KEY: z.string(),
  JWT_SECRET: z.string(),
}).transform((status): LocalProject => ({
  url: status.API_URL.replace(/\/+$/, ""),
  dbUrl: status.DB_URL,
  publishableKey: status.PUBLISHABLE_KEY,
  secretKey: status.SECRET_KEY,
  jwtSecret: status.JWT_SECRET,
}));

const environment = { DO_NOT_TRACK: "1", SUPABASE_NO_UPDATE_NOTIFIER: "1" };

/** Through the CLI, version 3. `command` is its program, `cwd` the directory that has `supabase/`. */
export function supabaseContainers(command: string, cwd = root): LocalSupabase {
  const cli = async (...args: string[]) => {
    const { success } = await new Deno.Command(command, {
      args,
      cwd,
      env: environment,
      stdin: "null",
      stdout: "inherit",
      stderr: "inherit",
    }).output();
    // The CLI has already printed the reason, such as that Docker is not running.
    if (!success) throw new Error(`supabase ${args.join(" ")} failed.`);
  };
  return {
    status: async () => {
      const { success, stdout } = await new Deno.Command(command, {
        args: ["status", "-o", "json"],
        cwd,
        env: environment,
        stdin: "null",
        stderr: "null",
      }).output();
      if (!success) return null;
      const text = new TextDecoder().decode(stdout);
      const status = Status.safeParse(JSON.parse(text));
      if (!status.success) {
        throw new Error(
          `\`supabase status -o json\` has an unexpected form: ${z.prettifyError(status.error)}`,
        );
      }
      return status.data;
    },
    start: () => cli("start"),
    serve: async (envFile, logFile) => {
      const log = await Deno.open(logFile, { create: true, write: true, truncate: true });
      const child = new Deno.Command(command, {
        args: ["functions", "serve", "--env-file", envFile],
        cwd,
        env: environment,
        stdin: "null",
        stdout: "piped",
        stderr: "piped",
      }).spawn();
      const output = async (stream: ReadableStream<Uint8Array>) => {
        for await (const chunk of stream) await log.write(chunk);
      };
      const written = Promise.all([output(child.stdout), output(child.stderr)]);
      const ended = Promise.all([child.status, written]).then(() => log.close());
      return {
        ended,
        stop: async () => {
          signal(child.pid, "SIGINT");
          if (await Promise.race([ended.then(() => true), pause(10_000)]) !== true) {
            signal(child.pid, "SIGKILL");
          }
          await ended;
        },
      };
    },
    stop: () => cli("stop"),
  };
}
