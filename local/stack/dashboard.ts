/** Serves the built dashboard under `/dashboard/`, with this stack's `config.json`. */
import { root } from "../state_dir.ts";
import { join } from "../paths.ts";

/** The folder of the built files. */
export const dashboardFiles = join(root, "dashboard/dist");

/** The app under `/dashboard`, as a value. Supabase has the dashboard's own origin unless `supabaseUrl` is given. */
export function createDashboard({ publishableKey }: { publishableKey: string }, supabaseUrl?: string) {
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
        // The host name of the request, so that Auth has the same origin.
        const config = { supabaseUrl: supabaseUrl ?? origin, publishableKey };
        return Response.json(config, { headers: { "cache-control": "no-cache" } });
      }
      // Only names that a build produces; no path traversal.
      if (!/^[\w-]+(\/[\w-]+)*(\.[\w-]+)+$/.test(name)) return new Response("Not found", { status: 404 });
      try {
        const bytes = await Deno.readFile(join(dashboardFiles, name));
        return new Response(request.method === "HEAD" ? null : bytes, {
          headers: {
            "content-type": types[name.split(".").at(-1) ?? ""] ?? "application/octet-stream",
            // Asset names contain a content hash.
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
  svg: "image/svg+xml",
};

function notBuilt(): Response {
  const text = `<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="2">
<title>Tunebase</title><p>The dashboard is not built yet. <code>task dev</code> builds it in the background; by hand:
<code>npx -y deno@2.9.6 task dashboard</code>. This page reloads every two seconds.`;
  return new Response(text, { status: 503, headers: { "content-type": "text/html; charset=utf-8" } });
}
