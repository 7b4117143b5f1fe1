/**
 * Emulates the parts of Supabase's Management API and its projects that a deployment needs. Each project is functional:
 * PostgreSQL, Auth, Storage and the uploaded functions behind one address, with working pg_cron and pg_net.
 *
 * Checked against the published description: paths, required fields, limits, and unknown fields where it rejects them.
 * Differs: undocumented error texts are invented; addresses are ports of this machine, not host names; no billing, branches,
 * Realtime or Data API (only its settings are stored).
 */
import { Hono } from "hono";
import { exists, join, removeIfThere } from "../../paths.ts";
import { postgresDirectory } from "../../stack/postgres.ts";
import { endLeftovers, pause } from "../../stack/processes.ts";
import { loadAccount, lowerCaseText } from "./account.ts";
import { ApiError } from "./errors.ts";
import { newRecord, Project } from "./project.ts";
import { loadRecord } from "./record.ts";
import type { Platform } from "./routes/context.ts";
import { databaseRoutes } from "./routes/database.ts";
import { functionRoutes } from "./routes/functions.ts";
import { projectRoutes } from "./routes/projects.ts";
import { settingRoutes } from "./routes/settings.ts";

export interface SupabaseOptions {
  /** The state's folder. */
  home: string;
  /** The path before `/v1`, such as `/supabase`. */
  prefix: string;
  log: (line: string) => void;
  /** Marks the environment of every process, so that the next start finds leftovers; `home` unless given. */
  mark?: string;
  /** The first project's PostgreSQL; a free port unless given. */
  dbPort?: number;
  /** Requests per minute for each project, and for all organizations together; 120 on the hosted platform. */
  requestsPerMinute?: number;
  /** The minimum time to create a project. */
  creationMs?: number;
}

export interface Supabase {
  /** A token with full access. */
  token: string;
  fetch(request: Request): Promise<Response>;
  /** The project's address. Throws for a project that does not exist. */
  projectUrl(ref: string): string;
  stop(): Promise<void>;
}

/** Starts the projects in the folder. */
export async function createSupabase(options: SupabaseOptions): Promise<Supabase> {
  const { home, log, prefix, mark = home, creationMs = 1000 } = options;
  const account = await loadAccount(home);
  const folder = (ref: string) => join(home, "projects", ref);
  await Deno.mkdir(join(home, "projects"), { recursive: true, mode: 0o700 });
  const projects = new Map<string, Project>();
  const background = new Set<Promise<void>>();
  const inBackground = (work: Promise<void>) => {
    background.add(work);
    void work.finally(() => background.delete(work));
  };

  for await (const { name: ref } of Deno.readDir(join(home, "projects"))) {
    // A folder without a record was being created or removed when the emulator ended.
    if (!await exists(join(folder(ref), "project.json"))) continue;
    projects.set(ref, new Project(await loadRecord(folder(ref)), { home: folder(ref), mark, log }));
  }
  await Promise.all([...projects.values()].map((project) => project.start()));

  const platform: Platform = {
    account,
    projects,
    create: async ({ name, region, databasePassword }) => {
      const ref = lowerCaseText(20);
      const record = newRecord({
        ref,
        number: Math.max(0, ...[...projects.values()].map((project) => project.record.number)) + 1,
        name,
        region,
        databasePassword,
        databasePort: projects.size === 0 ? options.dbPort ?? 0 : 0,
      });
      const project = new Project(record, { home: folder(ref), mark, log });
      projects.set(ref, project);
      await Deno.mkdir(folder(ref), { mode: 0o700 });
      await project.save();
      inBackground(pause(creationMs).then(() => project.start()));
      return project;
    },
    remove: (project) => {
      projects.delete(project.record.ref);
      inBackground(
        project.remove().catch((error) => log(`supabase: project ${project.record.ref}: ${error}`)),
      );
    },
  };

  const limiter = createLimiter(options.requestsPerMinute ?? 120);
  const app = new Hono().basePath(`${prefix}/v1`);
  app.onError((error, c) => {
    if (error instanceof ApiError) {
      return c.json({ message: error.message }, { status: error.status, headers: error.headers });
    }
    log(`supabase: ${c.req.method} ${c.req.path}: ${error.stack ?? error}`);
    return c.json({ message: "Internal Server Error" }, 500);
  });
  app.notFound((c) => c.json({ message: `Cannot ${c.req.method} ${c.req.path.slice(prefix.length)}` }, 404));
  app.use("*", async (c, next) => {
    authorize(c.req.raw);
    const scope = /\/projects\/([a-z]{20})/.exec(c.req.path)?.[1] ?? "organization";
    limiter(scope);
    await next();
  });
  for (const routes of [projectRoutes, databaseRoutes, functionRoutes, settingRoutes]) {
    app.route("/", routes(platform));
  }

  /** Responds with 401 without a token of the account, and 403 if the token lacks permission. */
  function authorize(request: Request): void {
    const token = /^Bearer (sbp_\w+)$/.exec(request.headers.get("authorization") ?? "")?.[1];
    if (token === account.token) return;
    if (token !== account.readOnlyToken && token !== account.strangerToken) {
      throw new ApiError(401, "Unauthorized");
    }
    if (token === account.strangerToken || request.method !== "GET") {
      throw new ApiError(403, "Your account does not have the necessary privileges to access this endpoint.");
    }
  }

  return {
    token: account.token,
    fetch: async (request) => await app.fetch(request),
    projectUrl: (ref) => {
      const project = projects.get(ref);
      if (project === undefined) throw new Error(`The emulated platform has no project ${ref}.`);
      return project.url;
    },
    stop: async () => {
      await Promise.all(background);
      await Promise.all([...projects.values()].map((project) => project.stop()));
    },
  };
}

/** Deletes the databases of all projects, which are outside their folders if the user is root. The emulator must not be running. */
export async function removeProjects(home: string): Promise<void> {
  const folder = join(home, "projects");
  if (!await exists(folder)) return;
  for await (const { name: ref } of Deno.readDir(folder)) {
    await endLeftovers(join(folder, ref));
    await removeIfThere(await postgresDirectory(join(folder, ref)));
  }
}

/** Counts requests per minute. A 429 says how long to wait. */
function createLimiter(perMinute: number): (scope: string) => void {
  const windows = new Map<string, { start: number; count: number }>();
  return (scope) => {
    const now = Date.now();
    let window = windows.get(scope);
    if (window === undefined || now - window.start >= 60_000) {
      window = { start: now, count: 0 };
      windows.set(scope, window);
    }
    window.count += 1;
    if (window.count <= perMinute) return;
    const seconds = Math.ceil((window.start + 60_000 - now) / 1000);
    throw new ApiError(429, "ThrottlerException: Too Many Requests", {
      "retry-after": String(seconds),
      "x-ratelimit-limit": String(perMinute),
      "x-ratelimit-remaining": "0",
      "x-ratelimit-reset": String(seconds),
    });
  };
}
