/** The command line as users run it: the one bundled file, under real Node, as a process of its own. */
import { buildCli } from "../../cli/build.ts";
import { root } from "../../local/state_dir.ts";
import { join } from "../../local/paths.ts";

export interface Ran {
  code: number;
  out: string;
  err: string;
}

export interface Running {
  child: Deno.ChildProcess;
  /** Resolves when what it has printed so far contains the text; rejects when it ends without. */
  says(text: string): Promise<void>;
  /** What it has printed so far. */
  soFar(): string;
  done: Promise<Ran>;
}

export interface Options {
  env?: Record<string, string>;
  cwd?: string;
  /** What is piped in; nothing unless said. */
  input?: string;
  /** At a terminal (Python's pty); stdout and stderr are one then. */
  terminal?: boolean;
  /** Runs the source under Deno instead. */
  deno?: boolean;
}

/** The program, with a home of its own; `env` is the environment of every run. */
export async function bundledProgram(env: Record<string, string>) {
  const home = await Deno.makeTempDir({ prefix: "tunebase cli " });
  const bundle = join(home, "tunebase.mjs");
  await buildCli(bundle);

  const alive = new Set<Deno.ChildProcess>();
  const start = (args: string[], options: Options = {}): Running => {
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
        NO_COLOR: "1",
        TZ: "UTC",
        COLUMNS: "120",
        ...env,
        ...options.env,
        ...(options.terminal ? { TYPED: options.input ?? "" } : {}),
      },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    alive.add(child);
    const ran: Ran = { code: -1, out: "", err: "" };
    const waiting = new Set<() => void>();
    const read = async (stream: ReadableStream<Uint8Array<ArrayBuffer>>, into: "out" | "err") => {
      for await (const text of stream.pipeThrough(new TextDecoderStream())) {
        ran[into] += text;
        for (const look of waiting) look();
      }
    };
    const feed = async () => {
      const writer = child.stdin.getWriter();
      const input = options.terminal ? "" : options.input ?? "";
      await writer.write(new TextEncoder().encode(input)).catch(() => {}); // it may not read
      await writer.close().catch(() => {});
    };
    const done = Promise.all([read(child.stdout, "out"), read(child.stderr, "err"), child.status, feed()])
      .then(([, , status]) => {
        alive.delete(child);
        ran.code = status.code;
        return ran;
      });
    const says = (text: string) =>
      new Promise<void>((resolve, reject) => {
        const look = () => {
          if (!(ran.out + ran.err).includes(text)) return;
          waiting.delete(look);
          resolve();
        };
        waiting.add(look);
        look();
        done.then(() => {
          look();
          reject(new Error(`it ended without saying ${JSON.stringify(text)}: ${JSON.stringify(ran)}`));
        }, reject);
      });
    return { child, says, soFar: () => ran.out + ran.err, done };
  };
  return {
    home,
    start,
    run: (args: string[], options: Options = {}): Promise<Ran> => start(args, options).done,
    /** Ends what a test that failed has left running, too. */
    async close() {
      await Promise.all([...alive].map(async (child) => {
        child.kill("SIGKILL");
        await child.status;
      }));
      await Deno.remove(home, { recursive: true });
    },
  };
}

/** Gives the program a terminal of 120 columns, passes what is typed on, and ends as it ended. */
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
    # Once it asks: what is typed before that is shown.
    if typed and (b"[y/N]" in data or b"hidden): " in data):
        os.write(fd, typed)
        typed = b""
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`;
