/**
 * `task test`: all checks and tests, in parallel; the last line is `N passed, N failed`. `task check` runs the checks
 * alone, `task test FILE…` some Deno tests (files or folders) alone. With `--slowest`, it also lists the ten slowest test files.
 */
import { installDashboard } from "../local/commands/dashboard.ts";
import { cache, root } from "../local/state_dir.ts";
import { setTimeout as delay } from "node:timers/promises";
import { join } from "../local/paths.ts";
import { generated } from "../local/commands/types.ts";
import { startTestPostgres } from "./support/postgres_server.ts";
import {
  type Group,
  groups,
  inParallel,
  longestFirst,
  recordDurations,
  slowest,
} from "./support/schedule.ts";

interface Result {
  passed: number;
  failed: number;
}

const trainer = join(root, "trainer");
const bin = (name: string) => join(trainer, ".venv/bin", name);
const deno = Deno.execPath();
const frozen = Deno.env.get("CI") ? ["--frozen"] : [];
const total: Result = { passed: 0, failed: 0 };
const args = Deno.args.filter((argument) => argument !== "--slowest");
const paths: string[] = [];
/** The other arguments go to `deno test`, such as `--filter TEXT`. */
const testOptions: string[] = [];
for (const argument of args) {
  (/^[^-].*\.ts$|^tests\b/.test(argument) ? paths : testOptions).push(argument);
}
const only = args[0] === "check" ? "check" : paths.length > 0 ? "files" : "all";
/** Six times what the slowest group takes on two cores, two and a half times what pytest takes. */
const timeLimitMs = 30 * 60_000;
/** Seconds of each group of test files. */
const durations = new Map<string, number>();

/** Runs after all others, because its leases are the shortest, which expire on a busy machine. */
const needsQuiet = "tests/e2e/kill_test.ts";

/** Deno tests wait as often as they compute: one process more than cores. */
const workers = Math.min(navigator.hardwareConcurrency, 5) + 1;

const server = await startTestPostgres("test");
try {
  const env = { TUNEBASE_TEST_DB_URL: server.url, NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" };
  const denoTest = async ({ name, files }: Group) => {
    const begin = performance.now();
    const modules = files.length === 1 ? files : ["tests/support/several_files.ts", "--", ...files];
    const result = await run(
      [deno, "test", "-A", ...frozen, "--no-check", ...testOptions, ...modules],
      root,
      denoCount,
      env,
    );
    durations.set(name, (performance.now() - begin) / 1000);
    return result;
  };
  /** Runs groups of test files in `workers` processes at a time; shows those that fail. */
  const denoTests = async (name: string, groups: Group[], workers: number, first?: () => Promise<void>) => {
    const begin = performance.now();
    const sum: Result = { passed: 0, failed: 0 };
    const tests = (await longestFirst(groups)).map((group) => async () => {
      const started = performance.now();
      const { output, ...result } = await denoTest(group);
      sum.passed += result.passed;
      sum.failed += result.failed;
      if (result.failed > 0) report(group.name, result, started, output);
    });
    await inParallel(first === undefined ? tests : [first, ...tests], workers);
    add(name, sum, begin);
  };
  if (only === "files") {
    await denoTests("deno test", eachAlone(await testFiles(paths)), 1);
  } else {
    const checks = async () => {
      // All but the dashboard, whose types are those of a browser and of its own packages.
      await step("deno check", [deno, "check", "--quiet", ...frozen, ...await typed()]);
      await step("deno lint", [deno, "lint", "--quiet"]);
      await step("deno fmt", [deno, "fmt", "--check", "--quiet"]);
      await step("words", [deno, "run", "-A", "tests/check/words.ts"]);
      await installDashboard((line) => console.log(line));
      await step("tsc, the dashboard", ["npm", "run", "--silent", "check"], join(root, "dashboard"));
      await step("generated files", null, root, () => currentFiles(server.template));
    };
    const pythonChecks = async () => {
      const everywhere = ["--quiet", "--config", "pyproject.toml", ".", "../examples", "../tests"];
      await step("ruff check", [bin("ruff"), "check", ...everywhere], trainer);
      await step("ruff format", [bin("ruff"), "format", "--check", ...everywhere], trainer);
      await step("hadolint", [bin("hadolint"), "Dockerfile", "../inference/Dockerfile"], trainer);
      // By name: it finds them itself only in a Git repository. It would run whatever shellcheck is installed, which differs
      // between machines.
      await step("actionlint", [bin("actionlint"), "-shellcheck=", ...await workflows()]);
      // The emulator imports both packages. One cache: torch's types take most of the time.
      await step("mypy", [bin("mypy"), ".", "../local/emulators/inference"], trainer);
      for (const folder of ["inference", "local/emulators/inference"]) {
        // With the settings in it: the modules there import each other by other paths.
        const at = join(root, folder);
        await step(`ruff check, ${folder}`, [bin("ruff"), "check", "--quiet", "."], at);
        await step(`ruff format, ${folder}`, [bin("ruff"), "format", "--quiet", "--check", "."], at);
      }
      await step(
        "mypy, inference",
        [bin("mypy"), "--cache-dir", join(trainer, ".mypy_cache"), "."],
        join(root, "inference"),
      );
    };
    if (only === "check") await Promise.all([checks(), pythonChecks()]);
    else {
      const all = await testFiles(["tests"]);
      await Promise.all([
        denoTests("deno test", groups(all.filter((file) => file !== needsQuiet)), workers, async () => {
          await checks();
          await pythonChecks();
        }),
        trainerTests(),
      ]);
      await Promise.all([
        denoTests("kill -9 of every part", eachAlone([needsQuiet]), 1),
        inferenceTests(), // one process, which leaves it most of the machine
      ]);
      await recordDurations(durations);
    }
  }
} finally {
  await server.stop();
}
if (Deno.args.includes("--slowest")) console.log(`\n${slowest(durations)}`);
console.log(`\n${total.passed} passed, ${total.failed} failed`);
Deno.exit(total.failed === 0 ? 0 : 1);

async function trainerTests(): Promise<void> {
  // Two at once, each on one core.
  await pytest("pytest", ["-n", "2", "--dist", "loadfile"], trainer);
}

async function inferenceTests(): Promise<void> {
  const args = ["-c", "pyproject.toml", "tests", "../tests/inference"];
  await pytest("pytest, the inference worker and its emulator", args, join(root, "inference"));
}

async function pytest(name: string, args: string[], cwd: string): Promise<void> {
  const env = {
    TUNEBASE_MODEL_CACHE: join(cache, "models"),
    // More threads are no faster alone. With the Deno tests running, they wait for each other at every small
    // matrix: one-second tests took 30.
    OMP_NUM_THREADS: "1",
  };
  const command = [bin("python"), "-m", "pytest", "-q", "-p", "no:cacheprovider", ...args];
  await step(name, command, cwd, pytestCount, env);
}

/** Each file in a process of its own. */
function eachAlone(files: string[]): Group[] {
  return files.map((file) => ({ name: file, files: [file] }));
}

/** Runs one step, shows its output if it failed, and counts. */
async function step(...[name, ...how]: [name: string, ...Parameters<typeof run>]): Promise<void> {
  const begin = performance.now();
  const { output, ...result } = await run(...how);
  add(name, result, begin);
  if (result.failed > 0) console.log(output.slice(-20_000));
}

/**
 * Runs a command, if there is one, and counts its result; each step counts as one test unless `count` says otherwise.
 * A command that takes longer than `timeLimitMs` fails. It gets SIGINT first, at which Deno prints the tests that still run.
 */
async function run(
  command: string[] | null,
  cwd = root,
  count: (output: string, ok: boolean) => Result | Promise<Result> = (_, ok) => ({
    passed: +ok,
    failed: +!ok,
  }),
  env: Record<string, string> = {},
): Promise<Result & { output: string }> {
  let output = "";
  let ok = true;
  if (command !== null) {
    const [program = "", ...args] = command;
    const process = new Deno.Command(program, {
      args,
      cwd,
      env,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const timers = [
      setTimeout(() => process.kill("SIGINT"), timeLimitMs),
      setTimeout(() => process.kill("SIGKILL"), timeLimitMs + 10_000),
    ];
    const started = performance.now();
    const collect = async (stream: ReadableStream<Uint8Array>) => {
      for await (const chunk of stream.pipeThrough(new TextDecoderStream())) output += chunk;
    };
    const collected = Promise.all([collect(process.stdout), collect(process.stderr)]);
    ok = (await process.status).success;
    timers.forEach((timer) => clearTimeout(timer));
    // A process that this one started and left behind keeps the streams open.
    if (await Promise.race([collected, delay(10_000, "open", { ref: false })]) === "open") {
      console.log(`left a process behind: ${command.join(" ")}`);
    }
    if (performance.now() - started >= timeLimitMs) {
      ok = false;
      output += `\nStopped after ${timeLimitMs / 60_000} minutes.\n`;
    }
  }
  const result = await count(output, ok);
  return { passed: result.passed, failed: !ok && result.failed === 0 ? 1 : result.failed, output };
}

/** Adds to the total and prints the line of a step. */
function add(name: string, result: Result, begin: number): void {
  total.passed += result.passed;
  total.failed += result.failed;
  report(name, result, begin);
}

function report(name: string, { passed, failed }: Result, begin: number, output?: string): void {
  const seconds = ((performance.now() - begin) / 1000).toFixed(1);
  console.log(
    `${failed === 0 ? "ok    " : "FAILED"} ${name}: ${passed} passed, ${failed} failed (${seconds} s)`,
  );
  if (output !== undefined) console.log(output.slice(-20_000));
}

function denoCount(output: string): Result {
  const match = /(\d+) passed.*?\| (\d+) failed/.exec(output.slice(-2000));
  return { passed: Number(match?.[1] ?? 0), failed: Number(match?.[2] ?? 0) };
}

/** From pytest's summary line; libraries may print more after it, at exit. */
function pytestCount(output: string): Result {
  const summary = [...output.matchAll(/^.*\d+ (?:passed|failed|errors?)\b.* in [\d.]+s.*$/gm)].at(-1)?.[0] ??
    "";
  const number = (word: string) => Number(new RegExp(`(\\d+) ${word}`).exec(summary)?.[1] ?? 0);
  return { passed: number("passed"), failed: number("failed") + number("errors?") };
}

async function currentFiles(template: string): Promise<Result> {
  let failed = 0;
  for (const { path, text } of await generated(template)) {
    if (await Deno.readTextFile(join(root, path)).catch(() => "") === text) continue;
    console.log(`${path} is stale. Run: npx -y deno@2.9.6 task types`);
    failed += 1;
  }
  return { passed: +(failed === 0), failed };
}

/** The folders that hold Deno's TypeScript. */
async function typed(): Promise<string[]> {
  const folders: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(root)) {
    if (isDirectory && !name.startsWith(".") && !["dashboard", "docs", "trainer"].includes(name)) {
      folders.push(name);
    }
  }
  return folders.sort();
}

/** The GitHub workflows, relative to the root. */
async function workflows(): Promise<string[]> {
  const folder = ".github/workflows";
  const files: string[] = [];
  for await (const { name } of Deno.readDir(join(root, folder))) files.push(`${folder}/${name}`);
  return files.sort();
}

/** The test files among these files and folders, relative to the root and sorted by path. */
async function testFiles(paths: string[]): Promise<string[]> {
  const found: string[] = [];
  for (const path of paths) {
    if (path.endsWith(".ts")) found.push(path);
    else {
      for await (const { name, isDirectory } of Deno.readDir(join(root, path))) {
        const inside = `${path.replace(/\/$/, "")}/${name}`;
        if (isDirectory || name.endsWith("_test.ts")) found.push(...await testFiles([inside]));
      }
    }
  }
  return found.sort();
}
