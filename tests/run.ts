/**
 * `task test`: everything that must hold. Checks and tests run beside each other; the last line is
 * `N passed, N failed`. `task check` runs the checks alone; `task test FILE…` some Deno tests alone.
 */
import { installDashboard } from "../local/commands/dashboard.ts";
import { cache, root } from "../local/state_dir.ts";
import { join } from "../local/paths.ts";
import { generated } from "../local/commands/types.ts";
import { startTestPostgres } from "./support/postgres_server.ts";

interface Result {
  passed: number;
  failed: number;
}

const trainer = join(root, "trainer");
const bin = (name: string) => join(trainer, ".venv/bin", name);
const deno = Deno.execPath();
const frozen = Deno.env.get("CI") ? ["--frozen"] : [];
const total: Result = { passed: 0, failed: 0 };
const only = Deno.args[0] === "check" ? "check" : Deno.args.length > 0 ? "files" : "all";

/** Those that take the most CPU time: as much as the checks and all others together, beside which they run. */
const heavyTests = [
  "crash_test.ts",
  "fuzz_test.ts",
  "dashboard_test.ts",
  "commands_test.ts",
  "transfers_test.ts",
];

const server = await startTestPostgres("test");
try {
  const env = { TUNEBASE_TEST_DB_URL: server.url, NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" };
  const denoTest = (name: string, files: string[]) =>
    step(name, [deno, "test", "-A", ...frozen, "--no-check", ...files], root, denoCount, env);
  if (only === "files") {
    await denoTest("deno test", Deno.args);
  } else {
    const checks = async () => {
      // All but the dashboard, whose types are those of a browser and of its own packages.
      await step("deno check", [deno, "check", "--quiet", ...frozen, ...await typed()]);
      await step("deno lint", [deno, "lint", "--quiet"]);
      await step("deno fmt", [deno, "fmt", "--check", "--quiet"]);
      await installDashboard((line) => console.log(line));
      await step("tsc, the dashboard", ["npm", "run", "--silent", "check"], join(root, "dashboard"));
      await step("generated files", null, root, () => currentFiles(server.template));
    };
    const pythonChecks = async () => {
      await step("ruff check", [
        bin("ruff"),
        "check",
        "--quiet",
        "--config",
        "pyproject.toml",
        ".",
        "../examples",
        "../tests",
      ], trainer);
      await step(
        "ruff format",
        [
          bin("ruff"),
          "format",
          "--check",
          "--quiet",
          "--config",
          "pyproject.toml",
          ".",
          "../examples",
          "../tests",
        ],
        trainer,
      );
      await step("hadolint", [bin("hadolint"), "Dockerfile"], trainer);
      await step("mypy", [bin("mypy"), "."], trainer);
    };
    if (only === "check") await Promise.all([checks(), pythonChecks()]);
    else {
      // Three lanes for two cores: the Deno tests wait as often as they compute.
      const unit = (await testFiles("tests")).filter((file) => !file.includes("/tests/e2e/"));
      const heavy = unit.filter((file) => heavyTests.some((name) => file.endsWith(`/${name}`)));
      const light = unit.filter((file) => !heavy.includes(file));
      await Promise.all([
        denoTest("deno test, the heavy ones", heavy),
        (async () => {
          await checks();
          await pythonChecks();
          await denoTest("deno test", light);
        })(),
        step(
          "pytest",
          // Two at once, each on one core.
          [bin("python"), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", "--dist", "loadfile"],
          trainer,
          pytestCount,
          {
            TUNEBASE_MODEL_CACHE: join(cache, "models"),
            // Alone it is as fast with one thread. Beside the Deno tests two wait for each other at every small matrix,
            // for the one that has no core: tests of a second took 30.
            OMP_NUM_THREADS: "1",
          },
        ),
      ]);
      // Real training wants both cores, and its leases no busy machine.
      await denoTest("end to end, with real training", await testFiles("tests/e2e"));
    }
  }
} finally {
  await server.stop();
}
console.log(`\n${total.passed} passed, ${total.failed} failed`);
Deno.exit(total.failed === 0 ? 0 : 1);

/** Runs one step, shows its output if it failed, and counts. */
async function step(
  name: string,
  command: string[] | null,
  cwd = root,
  count: (output: string, ok: boolean) => Result | Promise<Result> = (_, ok) => ({
    passed: +ok,
    failed: +!ok,
  }),
  env: Record<string, string> = {},
): Promise<void> {
  const begin = performance.now();
  let output = "";
  let ok = true;
  if (command !== null) {
    const [program = "", ...args] = command;
    const done = await new Deno.Command(program, { args, cwd, env, stdin: "null" }).output();
    const text = new TextDecoder();
    output = text.decode(done.stdout) + text.decode(done.stderr);
    ok = done.success;
  }
  const result = await count(output, ok);
  if (!ok && result.failed === 0) result.failed = 1;
  total.passed += result.passed;
  total.failed += result.failed;
  const seconds = ((performance.now() - begin) / 1000).toFixed(1);
  console.log(
    `${
      result.failed === 0 ? "ok    " : "FAILED"
    } ${name}: ${result.passed} passed, ${result.failed} failed (${seconds} s)`,
  );
  if (result.failed > 0) console.log(output.slice(-20_000));
}

function denoCount(output: string): Result {
  const match = /(\d+) passed.*?\| (\d+) failed/.exec(output.slice(-2000));
  return { passed: Number(match?.[1] ?? 0), failed: Number(match?.[2] ?? 0) };
}

function pytestCount(output: string): Result {
  const number = (word: string) => Number(new RegExp(`(\\d+) ${word}`).exec(output.slice(-500))?.[1] ?? 0);
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

/** The test files below a folder, sorted by path. */
async function testFiles(folder: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isFile, isDirectory } of Deno.readDir(join(root, folder))) {
    if (isDirectory) found.push(...await testFiles(`${folder}/${name}`));
    else if (isFile && name.endsWith("_test.ts")) found.push(join(root, folder, name));
  }
  return found.sort();
}
