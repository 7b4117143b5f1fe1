/** Runs the CLI: its bundle in a process of real Node, as users do, or its source in this process. */
import process from "node:process";
import { buildCli } from "../../cli/build.ts";
import { createProgram } from "../../cli/program.ts";
import { runCommand } from "../../cli/run.ts";
import { fingerprint, locked } from "../../local/builds.ts";
import { cache, root } from "../../local/state_dir.ts";
import { exists, join, removeIfThere } from "../../local/paths.ts";
import { captureOutput } from "./captured_output.ts";

export interface CliResult {
  code: number;
  out: string;
  err: string;
}

export interface CliProcess {
  child: Deno.ChildProcess;
  /** Resolves when its output contains the text; rejects if it ends without. */
  says(text: string): Promise<void>;
  /** Its output so far. */
  output(): string;
  done: Promise<CliResult>;
}

export interface Options {
  env?: Record<string, string>;
  cwd?: string;
  /** Piped to stdin; empty by default. */
  input?: string;
  /** In a terminal (Python's pty), which merges stdout and stderr. */
  terminal?: boolean;
  /** Runs the source under Deno instead. */
  deno?: boolean;
}

const timeLimitMs = 240_000;

/** Builds the CLI with its own home directory; `env` applies to every run. */
export async function bundledCli(env: Record<string, string>) {
  const home = await Deno.makeTempDir({ prefix: "tunebase cli " });
  const bundle = join(home, "tunebase.mjs");
  await Deno.copyFile(await currentBundle(), bundle);

  const alive = new Set<Deno.ChildProcess>();
  const start = (args: string[], options: Options = {}): CliProcess => {
    const program = options.deno
      ? [Deno.execPath(), "run", "-A", "--no-check", join(root, "cli/main.ts")]
      : ["node", bundle];
    const [command = "", ...rest] = options.terminal
      ? [join(root, "trainer/.venv/bin/python"), "-c", pty, ...program, ...args]
      : [...program, ...args];
    const child = new Deno.Command(command, {
      args: rest,
      cwd: options.cwd ?? home,
      clearEnv: true,
      env: {
        PATH: Deno.env.get("PATH") ?? "",
        HOME: home,
        DENO_DIR: Deno.env.get("DENO_DIR") ?? join(Deno.env.get("HOME") ?? "", ".cache/deno"),
        DENO_NO_UPDATE_CHECK: "1",
        ...settings,
        ...env,
        ...options.env,
        ...(options.terminal ? { TYPED: options.input ?? "" } : {}),
      },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    alive.add(child);
    // A run that hangs fails with what it printed, instead of holding up all tests.
    const timer = setTimeout(() => {
      ran.err += `\n[killed after ${timeLimitMs / 1000} s]`;
      child.kill("SIGKILL");
    }, timeLimitMs);
    const ran: CliResult = { code: -1, out: "", err: "" };
    const waiting = new Set<() => void>();
    const read = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>, into: "out" | "err") => {
      for await (const text of stream.pipeThrough(new TextDecoderStream())) {
        ran[into] += text;
        for (const check of waiting) check();
      }
    };
    const feed = async () => {
      const writer = child.stdin.getWriter();
      const input = options.terminal ? "" : options.input ?? "";
      await writer.write(new TextEncoder().encode(input)).catch(() => {}); // it may not read stdin
      await writer.close().catch(() => {});
    };
    const done = Promise.all([read(child.stdout, "out"), read(child.stderr, "err"), child.status, feed()])
      .then(([, , status]) => {
        clearTimeout(timer);
        alive.delete(child);
        ran.code = status.code;
        return ran;
      });
    const says = (text: string) =>
      new Promise<void>((resolve, reject) => {
        const check = () => {
          if (!(ran.out + ran.err).includes(text)) return;
          waiting.delete(check);
          resolve();
        };
        waiting.add(check);
        check();
        done.then(() => {
          check();
          reject(new Error(`it ended without printing ${JSON.stringify(text)}: ${JSON.stringify(ran)}`));
        }, reject);
      });
    return { child, says, output: () => ran.out + ran.err, done };
  };
  return {
    home,
    start,
    run: (args: string[], options: Options = {}): Promise<CliResult> => start(args, options).done,
    /**
     * Runs the source in this process, without stdin or a terminal: a start of Node costs a third of a second of a core. One
     * run at a time, and none that ends the process or waits for a signal.
     */
    runHere: async (args: string[], options: Pick<Options, "env"> = {}): Promise<CliResult> => {
      const variables = { HOME: home, ...settings, ...env, ...options.env };
      using _ = replaceEnvironment(variables);
      const folder = process.cwd();
      process.chdir(home); // Node's, because Node's functions cache the folder
      try {
        const printed = await captureOutput(() => runCommand(createProgram(), args));
        return { code: Number(process.exitCode ?? 0), ...printed };
      } finally {
        process.exitCode = 0;
        process.chdir(folder);
      }
    },
    /** Also ends processes that a failed test left running. */
    async close() {
      await Promise.all([...alive].map(async (child) => {
        child.kill("SIGKILL");
        await child.status;
      }));
      await Deno.remove(home, { recursive: true });
    },
  };
}

/** The same everywhere. */
const settings = { NO_COLOR: "1", TZ: "UTC", COLUMNS: "120" };

/** Sets these variables; disposal restores the former ones. */
function replaceEnvironment(variables: Record<string, string>): Disposable {
  const before = Object.keys(variables).map((name) => [name, Deno.env.get(name)] as const);
  for (const [name, value] of Object.entries(variables)) Deno.env.set(name, value);
  return {
    [Symbol.dispose]() {
      for (const [name, value] of before) {
        if (value === undefined) Deno.env.delete(name);
        else Deno.env.set(name, value);
      }
    },
  };
}

/** The path of the bundle, which all processes of a test run share until its inputs change. */
async function currentBundle(): Promise<string> {
  const folder = join(cache, "cli");
  const sources = ["cli", "client", "deploy", "local", "supabase/functions"];
  const manifests = ["cli/npm/package.json", "deno.json", "deno.lock", "import_map.json"];
  const hash = await fingerprint([...sources, ...manifests], ["npm"]); // cli/npm also has what `task cli` builds
  const bundle = join(folder, `${hash}.mjs`);
  await locked("cli", async () => {
    if (await exists(bundle)) return;
    await removeIfThere(folder);
    await Deno.mkdir(folder, { recursive: true });
    const made = join(folder, "new.mjs");
    await buildCli(made);
    await Deno.rename(made, bundle);
  });
  return bundle;
}

/** Runs the program in a terminal of 120 columns, forwards the input, and exits with its status. */
const pty = `
import fcntl, os, pty, struct, sys, termios
pid, fd = pty.fork()
if pid == 0:
    os.environ.pop("TYPED", None)
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
    os.execvp(sys.argv[1], sys.argv[1:])
typed = os.environ.pop("TYPED", "").encode()
while True:
    try:
        data = os.read(fd, 65536)
    except OSError:
        break
    if not data:
        break
    os.write(1, data)
    # Only at the prompt: earlier input would be echoed.
    if typed and (b"[y/N]" in data or b"hidden): " in data):
        os.write(fd, typed)
        typed = b""
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`;
