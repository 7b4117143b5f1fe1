/**
 * The dashboard: built from `dashboard/` when that has changed, and served under `/dashboard/` with the `config.json` of
 * this stack. `task dashboard` builds it.
 */
import { createHash } from "node:crypto";
import { root } from "./home.ts";
import { exists, join, removeIfThere } from "./paths.ts";

const source = join(root, "dashboard");
/** Where its files are once they are built. */
export const dashboardFiles = join(source, "dist");
/** What a build is made of. */
const ingredients = ["dashboard", "client", "supabase/functions/_shared"];
const made = new Set(["node_modules", "dist", "dist.new"]);

/** Installs its npm packages as package-lock.json says, if that has changed. */
export async function installDashboard(log: (line: string) => void): Promise<void> {
  const lock = await Deno.readTextFile(join(source, "package-lock.json"));
  const stamp = join(source, "node_modules/.installed.json");
  if (await exists(stamp) && await Deno.readTextFile(stamp) === lock) return;
  log("installing the dashboard's npm packages …");
  await npm("ci", "--no-audit", "--no-fund", "--loglevel=error");
  await Deno.writeTextFile(stamp, lock);
}

/** Builds it, if what it is made of has changed since. Throws an Error with npm's own words. */
export async function buildDashboard(log: (line: string) => void): Promise<void> {
  const stamp = join(dashboardFiles, ".built");
  const wanted = await fingerprint();
  if (await exists(stamp) && await Deno.readTextFile(stamp) === wanted) return;
  await installDashboard(log);
  const begin = performance.now();
  // Beside the old one, which is served until the new one is whole.
  await npm("run", "build", "--", "--outDir", "dist.new", "--emptyOutDir", "--logLevel", "warn");
  await Deno.writeTextFile(`${dashboardFiles}.new/.built`, wanted);
  await removeIfThere(dashboardFiles);
  await Deno.rename(`${dashboardFiles}.new`, dashboardFiles);
  log(`the dashboard is built (${((performance.now() - begin) / 1000).toFixed(1)} s)`);
}

/** The app under `/dashboard`, as a value. */
export function createDashboard({ publishableKey }: { publishableKey: string }) {
  return {
    async fetch(request: Request): Promise<Response> {
      if (!["GET", "HEAD"].includes(request.method)) {
        return new Response(null, { status: 405, headers: { allow: "GET, HEAD" } });
      }
      const { pathname, origin } = new URL(request.url);
      if (pathname === "/dashboard" || pathname === "/dashboard/docs") {
        return new Response(null, { status: 308, headers: { location: `${pathname}/` } });
      }
      const name = pathname.slice("/dashboard/".length).replace(/(^|\/)$/, "$1index.html");
      if (name === "config.json") {
        // By whatever name this machine was called, so that Auth is of the same origin.
        const config = { supabaseUrl: origin, publishableKey };
        return Response.json(config, { headers: { "cache-control": "no-cache" } });
      }
      // Names that a build makes; nothing that leads out of it.
      if (!/^[\w-]+(\/[\w-]+)*(\.[\w-]+)+$/.test(name)) return new Response("Not found", { status: 404 });
      try {
        const bytes = await Deno.readFile(join(dashboardFiles, name));
        return new Response(request.method === "HEAD" ? null : bytes, {
          headers: {
            "content-type": types[name.split(".").at(-1) ?? ""] ?? "application/octet-stream",
            // The names of assets hold a hash of what is in them.
            "cache-control": name.startsWith("assets/") ? "public, max-age=31536000, immutable" : "no-cache",
            "x-content-type-options": "nosniff",
          },
        });
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
        return name === "index.html" ? notBuilt() : new Response("Not found", { status: 404 });
      }
    },
  };
}

const types: Record<string, string> = {
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  json: "application/json",
};

function notBuilt(): Response {
  const text = `<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="2">
<title>Tunebase</title><p>The dashboard is not built yet. <code>task dev</code> builds it in the background; by hand:
<code>npx -y deno@2.9.6 task dashboard</code>. This page looks again every two seconds.`;
  return new Response(text, { status: 503, headers: { "content-type": "text/html; charset=utf-8" } });
}

async function npm(...args: string[]): Promise<void> {
  const { success, stdout, stderr } = await new Deno.Command("npm", { args, cwd: source, stdin: "null" })
    .output();
  const text = new TextDecoder();
  if (!success) throw new Error(`npm ${args[0]} failed:\n${text.decode(stdout)}${text.decode(stderr)}`);
}

/** Changes when what it is built of does. */
async function fingerprint(): Promise<string> {
  const hash = createHash("sha256");
  const walk = async (directory: string): Promise<void> => {
    const entries = (await Array.fromAsync(Deno.readDir(directory))).sort((a, b) => a.name < b.name ? -1 : 1);
    for (const { name, isDirectory } of entries) {
      if (made.has(name)) continue;
      const path = join(directory, name);
      if (isDirectory) await walk(path);
      else hash.update(`${path.slice(root.length)}\0`).update(await Deno.readFile(path));
    }
  };
  for (const name of ingredients) await walk(join(root, name));
  return hash.digest("hex");
}

if (import.meta.main) {
  await buildDashboard((line) => console.log(line));
  console.log(`the dashboard's files: ${dashboardFiles}`);
}
