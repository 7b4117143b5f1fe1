/**
 * Emulates Supabase and RunPod on this machine for `task deploy --target emulators`, with one address for both accounts. Their
 * state is stored on disk, so the next start has the same projects and endpoints at the same addresses.
 */
import * as z from "zod";
import type { Target } from "../../deploy/target.ts";
import { exists, join, removeIfThere, writePrivate } from "../paths.ts";
import { startGateway } from "../stack/gateway.ts";
import { randomText } from "../stack/keys.ts";
import { endLeftovers, forgetStack, recordStack, runningStack } from "../stack/processes.ts";
import { freePort, namedPort } from "../state_dir.ts";
import { createRunpodRest } from "./runpod/rest.ts";
import { createSupabase, removeProjects } from "./supabase/mod.ts";

export interface Platforms {
  target: Target;
  supabaseToken: string;
  runpodKey: string;
  stop(): Promise<void>;
}

export interface PlatformsOptions {
  /** The folder of both accounts. */
  home: string;
  log(line: string): void;
  /** The port on the first start; a free one unless given. */
  port?: number;
  /** The port of the first project's PostgreSQL; a free one unless given. */
  dbPort?: number;
  /** Additional environment variables of RunPod's workers. */
  workerEnv?: Record<string, string>;
}

const Saved = z.object({ port: z.int(), runpodKey: z.string(), workerKey: z.string() });

/** Ten times the hosted limit, so that tests that deploy many times need not wait. */
const requestsPerMinute = 1200;

/** Starts both platforms. Throws an Error with the reason if it cannot (a port in use, emulators that are already running). */
export async function startPlatforms(options: PlatformsOptions): Promise<Platforms> {
  const { home, log } = options;
  await Deno.mkdir(home, { recursive: true, mode: 0o700 });
  const running = await runningStack(home);
  if (running !== null) {
    throw new Error(
      `The emulators of ${home} are in use by another command (pid ${running.pid}, ${running.url}). ` +
        "Wait until it ends, or stop it.",
    );
  }
  const left = await endLeftovers(home) + await endLeftovers(join(home, "runpod"));
  if (left > 0) log(`ended ${left} processes that earlier emulators left behind`);

  const { port, runpodKey, workerKey } = await loadSaved(home, options.port ?? 0);
  await namedPort(port, "TUNEBASE_PORT", log);
  const url = `http://127.0.0.1:${port}`;
  await recordStack(home, url);
  const started: { stop(): Promise<void> }[] = [{ stop: () => forgetStack(home) }];
  const stop = async () => {
    for (const part of started.splice(0).reverse()) await part.stop();
  };
  try {
    const supabase = await createSupabase({
      home: join(home, "supabase"),
      prefix: "/supabase",
      log,
      mark: home,
      requestsPerMinute,
      ...(options.dbPort === undefined ? {} : { dbPort: options.dbPort }),
    });
    started.push(supabase);
    const runpod = await createRunpodRest({
      home: join(home, "runpod"),
      apiKey: runpodKey,
      workerKey,
      url,
      log,
      workerEnv: options.workerEnv ?? {},
    });
    started.push(runpod);
    started.push(startGateway(port, [
      { prefix: "/supabase", handle: (request) => supabase.fetch(request) },
      { prefix: "/runpod-rest", handle: (request) => runpod.fetch(request) },
      { prefix: "/runpod", handle: (request) => runpod.fetch(request) },
    ], () => undefined));
    const target: Target = {
      name: "emulators",
      supabaseApi: `${url}/supabase`,
      runpodRest: `${url}/runpod-rest/v2`,
      runpodApi: `${url}/runpod/v2`,
      inferenceUrl: `${url}/runpod/lb/{endpoint}`,
      projectUrl: supabase.projectUrl,
      functionSecrets: { TUNEBASE_ALLOW_LOOPBACK: "1" },
    };
    return { target, supabaseToken: supabase.token, runpodKey, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Deletes both accounts and their projects. Throws an Error if the emulators are running. */
export async function removePlatforms(home: string): Promise<void> {
  const running = await runningStack(home);
  if (running !== null) {
    throw new Error(`The emulators of ${home} are running (pid ${running.pid}). Stop them first.`);
  }
  for (const mark of [home, join(home, "runpod")]) await endLeftovers(mark);
  await removeProjects(join(home, "supabase"));
  await removeIfThere(home);
}

/** The port and the keys of this home. Chosen once, because endpoints and secrets contain them. */
async function loadSaved(home: string, port: number): Promise<z.infer<typeof Saved>> {
  const path = join(home, "platforms.json");
  if (await exists(path)) return Saved.parse(JSON.parse(await Deno.readTextFile(path)));
  const saved = {
    port: freePort(port, "TUNEBASE_PORT"),
    runpodKey: `rpa_${randomText(24)}`,
    workerKey: randomText(24),
  };
  await writePrivate(path, `${JSON.stringify(saved, null, 2)}\n`);
  return saved;
}
