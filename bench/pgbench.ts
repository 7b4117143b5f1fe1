/** pgbench, PostgreSQL's own load generator, calling the function that a callback calls. */
import { exists, join } from "../local/paths.ts";
import { checkedReport, type Held } from "./attempts.ts";

const installed = "/usr/lib/postgresql";

/** The path of pgbench; installs it as root if missing. Throws an Error that says how to install it. */
export async function findPgbench(log: (line: string) => void): Promise<string> {
  const found = await find();
  if (found !== null) return found;
  if (Deno.uid() === 0 && await exists("/usr/bin/apt-get")) {
    log("pgbench was not found; installing Debian's package postgresql …");
    // On Debian only the server package contains it; this creates no cluster.
    await Deno.mkdir("/etc/postgresql-common", { recursive: true });
    if (!await exists("/etc/postgresql-common/createcluster.conf")) {
      await Deno.writeTextFile("/etc/postgresql-common/createcluster.conf", "create_main_cluster = false\n");
    }
    for (const args of [["update"], ["install", "-y", "--no-install-recommends", "postgresql"]]) {
      const env = { DEBIAN_FRONTEND: "noninteractive" };
      await new Deno.Command("apt-get", { args, env, stdin: "null", stdout: "null", stderr: "null" })
        .output();
    }
    const now = await find();
    if (now !== null) return now;
  }
  throw new Error(
    "pgbench is needed and was not found on PATH or in /usr/lib/postgresql/*/bin. On Debian and Ubuntu it is in the " +
      "server's package: apt-get install --no-install-recommends postgresql",
  );
}

async function find(): Promise<string | null> {
  const folders = (Deno.env.get("PATH") ?? "").split(":");
  if (await exists(installed)) {
    for (const { name } of Deno.readDirSync(installed)) folders.unshift(join(installed, name, "bin"));
  }
  for (const folder of folders) {
    if (folder !== "" && await exists(join(folder, "pgbench"))) return join(folder, "pgbench");
  }
  return null;
}

export interface Pgbench {
  program: string;
  /** The database URL with the callback function's role. */
  url: string;
  connections: number;
  attempts: Held[];
  leaseSeconds: number;
}

/** Runs a script for `seconds` over `connections`. Returns runs per second, excluding connecting. */
export async function runPgbench(
  options: {
    program: string;
    url: string;
    connections: number;
    script: string;
    seconds: number;
    defines?: string[];
  },
): Promise<number> {
  const { program, url, connections, seconds, defines = [] } = options;
  const script = await Deno.makeTempFile({ suffix: ".sql" });
  try {
    await Deno.writeTextFile(script, options.script);
    const { success, stdout, stderr } = await new Deno.Command(program, {
      args: [
        "--no-vacuum",
        `--client=${connections}`,
        "--jobs=1",
        // It measures whole seconds; a bench's short form needs less.
        seconds < 1 ? `--transactions=${Math.ceil(100 * seconds)}` : `--time=${seconds}`,
        ...defines.map((define) => `--define=${define}`),
        `--file=${script}`,
        url,
      ],
      env: { PGSSLMODE: "disable" },
      stdin: "null",
    }).output();
    const output = new TextDecoder().decode(stdout);
    const rate = /^tps = ([\d.]+) \(without initial connection time\)/m.exec(output)?.[1];
    const failed = /failed transactions: (\d+)/.exec(output)?.[1] ?? "0";
    if (!success || rate === undefined || failed !== "0") {
      throw new Error(`pgbench failed:\n${output}${new TextDecoder().decode(stderr)}`);
    }
    return Number(rate);
  } finally {
    await Deno.remove(script);
  }
}

/**
 * Calls `tunebase_internal.record_progress` for `seconds` over several connections, each with its own attempts. `first` is
 * the first sequence. Returns calls per second. The arguments are literals in the query text: pgbench cannot substitute
 * variables within a bound parameter.
 */
export function pgbenchReports(options: Pgbench, first: number, seconds: number): Promise<number> {
  const { program, url, connections, attempts, leaseSeconds } = options;
  const script = pgbenchScript(connections, attempts, leaseSeconds);
  return runPgbench({ program, url, connections, script, seconds, defines: [`n=${first - 1}`] });
}

/** Client c cycles through the attempts c, c + connections, …; n and each attempt's sequence grow with each call. */
function pgbenchScript(connections: number, attempts: Held[], leaseSeconds: number): string {
  const each = Math.floor(attempts.length / connections);
  const placeholder = 1_234_567;
  const branches = attempts.slice(0, each * connections).map((held, i) => {
    // "n: :n" and not "n::n": pgbench takes two colons for a cast.
    const body = checkedReport(held, placeholder).replaceAll(`:${placeholder}`, ": :n");
    return `${
      i === 0 ? "\\if" : "\\elif"
    } :place = ${i}\nselect tunebase_internal.record_progress('${held.id}', '${body}', ${leaseSeconds});`;
  });
  return `\\set n :n + 1\n\\set place :client_id + ${connections} * (:n % ${each})\n${
    branches.join("\n")
  }\n\\endif\n`;
}
