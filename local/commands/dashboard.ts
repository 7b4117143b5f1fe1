/** `task dashboard`: builds the dashboard if `dashboard/` has changed. */
import { root } from "../state_dir.ts";
import { fingerprint, locked } from "../builds.ts";
import { exists, join, removeIfThere } from "../paths.ts";
import { dashboardFiles } from "../stack/dashboard.ts";

const source = join(root, "dashboard");
/** The inputs of a build. */
const inputs = ["dashboard", "client", "supabase/functions/_shared"];
const made = ["node_modules", "dist", "dist.new"];

/** Installs the npm packages in package-lock.json, if it has changed. `npm ci` first removes what other processes use. */
export async function installDashboard(log: (line: string) => void): Promise<void> {
  await locked("dashboard", () => installPackages(log));
}

/** Builds it if its inputs have changed. Throws an Error with npm's message. */
export async function buildDashboard(log: (line: string) => void): Promise<void> {
  await locked("dashboard", () => build(log));
}

async function installPackages(log: (line: string) => void): Promise<void> {
  const lock = await Deno.readTextFile(join(source, "package-lock.json"));
  const stamp = join(source, "node_modules/.installed.json");
  if (await exists(stamp) && await Deno.readTextFile(stamp) === lock) return;
  log("installing the dashboard's npm packages …");
  await npm("ci", "--no-audit", "--no-fund", "--loglevel=error");
  await Deno.writeTextFile(stamp, lock);
}

async function build(log: (line: string) => void): Promise<void> {
  const stamp = join(dashboardFiles, ".built");
  const wanted = await fingerprint(inputs, made);
  if (await exists(stamp) && await Deno.readTextFile(stamp) === wanted) return;
  await installPackages(log);
  const begin = performance.now();
  // Into a new folder, so that the old build is served until the new one is complete.
  await npm("run", "build", "--", "--outDir", "dist.new", "--emptyOutDir", "--logLevel", "warn");
  await Deno.writeTextFile(`${dashboardFiles}.new/.built`, wanted);
  await removeIfThere(dashboardFiles);
  await Deno.rename(`${dashboardFiles}.new`, dashboardFiles);
  log(`the dashboard is built (${((performance.now() - begin) / 1000).toFixed(1)} s)`);
}

async function npm(...args: string[]): Promise<void> {
  const { success, stdout, stderr } = await new Deno.Command("npm", { args, cwd: source, stdin: "null" })
    .output();
  const text = new TextDecoder();
  if (!success) throw new Error(`npm ${args[0]} failed:\n${text.decode(stdout)}${text.decode(stderr)}`);
}

if (import.meta.main) {
  await buildDashboard((line) => console.log(line));
  console.log(`the dashboard's files: ${dashboardFiles}`);
}
