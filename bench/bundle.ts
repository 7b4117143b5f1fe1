/**
 * The bundled and minified size of each function, and the time from process start to its first response, compared with a
 * bare Hono function bundled and started in the same way.
 */
import { root } from "../local/state_dir.ts";
import { freePort } from "../local/state_dir.ts";
import { join } from "../local/paths.ts";
import { median, type RawMeasurement, type Size } from "./results.ts";
import { type BenchStack, startBenchStack } from "./harness.ts";

const mostBytes = 1_000_000;
const mostTimes = 2;
const sizes = {
  full: { functions: ["tunebase", "tunebase-callback", "tunebase-scheduler"], warmups: 1, starts: 9 },
  short: { functions: ["tunebase-callback"], warmups: 0, starts: 1 },
};

/**
 * Bundles an entry for {@link boot}: as on the platform, a module that is imported on first use is loaded then, so it has a
 * file of its own. `deno bundle` imports Node's module loader at the top of every bundle that holds a CommonJS package
 * (30 ms), used or not; the platform does not bundle, so that import is made on first use too.
 */
async function bundleForBoot(entry: string, folder: string): Promise<string> {
  await runBundler(["--code-splitting", `--outdir=${folder}`, entry]);
  const banner = /import\{createRequire as (\w+)\} from "node:module";var (\w+)=\1\(import\.meta\.url\);/;
  for await (const { name } of Deno.readDir(folder)) {
    const path = join(folder, name);
    const text = await Deno.readTextFile(path);
    const lazy = 'var $2=(id)=>process.getBuiltinModule("module").createRequire(import.meta.url)(id);';
    if (banner.test(text)) await Deno.writeTextFile(path, text.replace(banner, lazy));
  }
  return join(folder, (entry.split("/").at(-1) ?? entry).replace(/\.ts$/, ".js"));
}

/** Bundles an entry with its imports into one minified file; returns the file's size. */
async function bundle(entry: string, output: string): Promise<number> {
  await runBundler([`--output=${output}`, entry]);
  return (await Deno.stat(output)).size;
}

async function runBundler(args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "bundle",
      "--quiet",
      "--minify",
      "--platform=deno",
      `--config=${join(root, "deno.json")}`,
      ...args,
    ],
    cwd: root,
    stdout: "null",
    stderr: "piped",
  }).output();
  if (!success) throw new Error(`deno bundle ${args.join(" ")} failed:\n${new TextDecoder().decode(stderr)}`);
}

export async function bundleSize(log: (line: string) => void, size: Size): Promise<RawMeasurement[]> {
  const folder = await Deno.makeTempDir({ prefix: "tunebase bundle " });
  try {
    const found: [string, number][] = [];
    for (const name of sizes[size].functions) {
      const bytes = await bundle(
        join(root, "supabase/functions", name, "index.ts"),
        join(folder, `${name}.js`),
      );
      log(`${name}: ${(bytes / 1000).toFixed(0)} kB`);
      found.push([name, bytes]);
    }
    const [name = "", largest = NaN] = found.toSorted(([, a], [, b]) => b - a)[0] ?? [];
    return [{
      value: largest / 1000,
      unit: `kB of ${name}, the largest function, minified`,
      against: `the limit, ${mostBytes / 1000} kB`,
      ratio: mostBytes / largest,
      goal: 1,
    }];
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

export async function boot(log: (line: string) => void, size: Size): Promise<RawMeasurement[]> {
  const { functions, warmups, starts } = sizes[size];
  const bench = await startBenchStack({ cronSeconds: 3600 });
  // Inside the project: a bundle resolves unbundled modules (Node's own) by its configuration.
  const folder = join(bench.stack.home, "bundles");
  await Deno.mkdir(folder, { recursive: true });
  try {
    const empty = join(folder, "empty.ts");
    await Deno.writeTextFile(
      empty,
      `import { Hono } from "${new URL(import.meta.resolve("hono")).href}";\nDeno.serve(new Hono().fetch);\n`,
    );
    const scripts: Record<string, string> = { empty };
    for (const name of functions) scripts[name] = join(root, "supabase/functions", name, "index.ts");
    const bundled: Record<string, string> = {};
    for (const [name, entry] of Object.entries(scripts)) {
      bundled[name] = await bundleForBoot(entry, join(folder, name));
    }
    const times: Record<string, number[]> = {};
    // Alternating; the first start of each warms the disk and compiler caches.
    for (let turn = -warmups; turn < starts; turn++) {
      for (const [name, script] of Object.entries(bundled)) {
        const ms = await firstAnswer(bench, script, name);
        if (turn >= 0) (times[name] ??= []).push(ms);
      }
    }
    const base = median(times.empty ?? []);
    return functions.map((name) => {
      const ms = median(times[name] ?? []);
      log(`${name}: ${ms.toFixed(0)} ms, an empty function ${base.toFixed(0)} ms`);
      return {
        value: ms,
        unit: `ms from the start of ${name} to its first answer`,
        against: `${mostTimes} times an empty Hono function, ${base.toFixed(0)} ms`,
        ratio: mostTimes * base / ms,
        goal: 1,
      };
    });
  } finally {
    await bench.close();
  }
}

/** Starts a process and polls until it answers; returns the milliseconds. */
async function firstAnswer(
  { stack: { functionEnv } }: BenchStack,
  script: string,
  name: string,
): Promise<number> {
  const port = freePort(0, "");
  const begin = performance.now();
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "--allow-net", "--allow-env", "--quiet", "--no-check", script],
    cwd: root,
    clearEnv: true,
    env: { ...functionEnv, DENO_SERVE_ADDRESS: `tcp:127.0.0.1:${port}`, NO_COLOR: "1" },
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  try {
    for (const end = begin + 30_000; performance.now() < end;) {
      try {
        const response = await fetch(`http://127.0.0.1:${port}/${name}/-/ready`);
        await response.body?.cancel();
        return performance.now() - begin;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 2)); // not listening yet
      }
    }
    throw new Error(`${name} did not answer within 30 s`);
  } finally {
    child.kill("SIGKILL");
    await child.status;
  }
}
