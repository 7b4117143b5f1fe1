/**
 * Each edge function as a process of its own, with the environment that the platform gives it and ours. Differs: plain
 * Deno of this version, no memory or CPU limits, no `EdgeRuntime`; a function that dies is started again.
 */
import { freePort, root } from "./home.ts";
import { join } from "./paths.ts";
import { pause, signal } from "./processes.ts";

export interface EdgeFunction {
  name: string;
  port: number;
  /** Of its process as it is now. */
  pid(): number | undefined;
  stop(): Promise<void>;
}

/**
 * Becomes the program, its output at the end of a file. Through a pipe each log line woke this process up, and cost a
 * callback 15 % of its time.
 */
const toFile = 'log=$1; shift; exec "$@" >>"$log" 2>&1';

/**
 * Starts `supabase/functions/<name>/index.ts` (or `script`) and waits until it answers. Its output goes to `logFile`.
 */
export async function startFunction(
  name: string,
  env: Record<string, string>,
  logFile: string,
  script = join(root, "supabase/functions", name, "index.ts"),
): Promise<EdgeFunction> {
  const port = freePort(0, "");
  let stopped = false;
  let child: Deno.ChildProcess | null = null;
  let backoff = 200;

  const start = () => {
    const spawned = new Deno.Command("/bin/sh", {
      args: [
        "-c",
        toFile,
        "sh",
        logFile,
        Deno.execPath(),
        "run",
        "--no-prompt",
        "--allow-net",
        "--allow-env",
        "--quiet",
        `--config=${join(root, "deno.json")}`,
        script,
      ],
      cwd: root,
      clearEnv: true,
      env: { ...env, DENO_SERVE_ADDRESS: `tcp:127.0.0.1:${port}`, NO_COLOR: "1" },
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    child = spawned;
    return spawned.status;
  };
  const keeping = (async () => {
    while (!stopped) {
      const began = Date.now();
      const { code } = await start();
      if (stopped) break;
      if (Date.now() - began > 10_000) backoff = 200; // it had come up well
      await Deno.writeTextFile(logFile, `${name} ended with ${code}; starting it again\n`, { append: true });
      await pause(backoff);
      backoff = Math.min(backoff * 2, 10_000);
    }
  })();
  const stop = async () => {
    stopped = true;
    if (child !== null) signal(child.pid, "SIGKILL"); // it holds no state
    await keeping;
  };

  for (let tries = 0; tries < 400; tries++) {
    try {
      // A route that no function has: its 404 says that the app is up.
      const response = await fetch(`http://127.0.0.1:${port}/${name}/-/ready`);
      await response.body?.cancel();
      return { name, port, pid: () => child?.pid, stop };
    } catch {
      await pause(50); // not listening yet
    }
  }
  await stop();
  throw new Error(`The function ${name} did not start. See ${logFile}`);
}
