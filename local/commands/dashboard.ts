/** `task dashboard`: builds the dashboard if `dashboard/` has changed. */
import { createHash } from "node:crypto";
import { cache, root } from "../state_dir.ts";
import { exists, join, removeIfThere } from "../paths.ts";
import { dashboardFiles } from "../stack/dashboard.ts";

const source = join(root, "dashboard");
/** The inputs of a build. */
const inputs = ["dashboard", "client", "supabase/functions/_shared"];
const made = new Set(["node_modules", "dist", "dist.new"]);

/** Installs the npm packages in package-lock.json, if it has changed. */
export async function installDashboard(log: (line: string) => void): Promise<void> {
  await locked(() => installPackages(log));
}

/** Builds it if its inputs have changed. Throws an Error with npm's message. */
export async function buildDashboard(log: (line: string) => void): Promise<void> {
  await locked(() => build(log));
}

/** Runs `work` while no other process installs or builds: `npm ci` first removes what others use. */
async function locked(work: () => Promise<void>): Promise<void> {
  await Deno.mkdir(cache, { recursive: true, mode: 0o700 });
  using file = await Deno.open(join(cache, "dashboard.lock"), { create: true, write: true });
  await file.lock(true); // until it is closed
  await work();
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
  const wanted = await fingerprint();
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

/** A hash of the build's inputs. */
async function fingerprint(): Promise<string> {
  const hash = createHash("sha256");
  const addFolder = async (directory: string): Promise<void> => {
    const entries = (await Array.fromAsync(Deno.readDir(directory))).sort((a, b) => a.name < b.name ? -1 : 1);
    for (const { name, isDirectory } of entries) {
      if (made.has(name)) continue;
      const path = join(directory, name);
      if (isDirectory) await addFolder(path);
      else hash.update(`${path.slice(root.length)}\0`).update(await Deno.readFile(path));
    }
  };
  for (const name of inputs) await addFolder(join(root, name));
  return hash.digest("hex");
}

if (import.meta.main) {
  await buildDashboard((line) => console.log(line));
  console.log(`the dashboard's files: ${dashboardFiles}`);
}
