/** Edge functions and their secrets. */
import { Hono } from "hono";
import * as z from "zod";
import { storeDeployment } from "../deployments.ts";
import { ApiError, checked } from "../errors.ts";
import type { Deployment } from "../record.ts";
import { bodyOf, type Platform, projectOf } from "./context.ts";

const maxSecrets = 100;
const Secrets = z.array(z.object({
  name: z.string().min(1).max(256).regex(/^(?!SUPABASE_).*/, "must not start with SUPABASE_"),
  value: z.string().max(24_576),
}));
const Slug = z.string().regex(/^[A-Za-z][A-Za-z0-9_-]*$/);

export function functionRoutes(platform: Platform): Hono {
  const app = new Hono().basePath("/projects/:ref");
  /** Serializes the deployments of one function, so that each gets its own version. */
  let deploying: Promise<unknown> = Promise.resolve();

  app.get("/secrets", async (c) => {
    const project = projectOf(platform, c);
    const own = Object.entries(project.record.secrets).map(([name, { value, updatedAt }]) => ({
      name,
      value,
      updatedAt,
    }));
    const given = Object.entries(project.platformEnvironment())
      .map(([name, value]) => ({ name, value, updatedAt: project.record.createdAt }));
    return c.json(
      await Promise.all([...own, ...given].map(async ({ name, value, updatedAt }) => ({
        name,
        value: await sha256(value),
        updated_at: updatedAt,
      }))),
    );
  });
  app.post("/secrets", async (c) => {
    const project = projectOf(platform, c);
    const wanted = await bodyOf(c, Secrets);
    const updatedAt = new Date().toISOString();
    const merged = {
      ...project.record.secrets,
      ...Object.fromEntries(wanted.map(({ name, value }) => [name, { value, updatedAt }])),
    };
    if (Object.keys(merged).length > maxSecrets) {
      throw new ApiError(400, `A project can have at most ${maxSecrets} secrets`);
    }
    const isChanged = wanted.some(({ name, value }) => project.record.secrets[name]?.value !== value);
    project.record.secrets = merged;
    if (isChanged) await project.secretsChanged();
    return c.body(null, 201);
  });
  app.delete("/secrets", async (c) => {
    const project = projectOf(platform, c);
    const names = (await bodyOf(c, z.array(z.string()))).filter((name) => name in project.record.secrets);
    for (const name of names) delete project.record.secrets[name];
    if (names.length > 0) await project.secretsChanged();
    return c.body(null, 200);
  });

  app.get("/functions", (c) => {
    const { functions } = projectOf(platform, c).record;
    return c.json(Object.entries(functions).map(([slug, deployment]) => shown(slug, deployment)));
  });
  app.post("/functions/deploy", async (c) => {
    const project = projectOf(platform, c);
    const slug = checked(z.object({ slug: Slug }), { slug: c.req.query("slug") }).slug;
    if (project.status !== "ACTIVE_HEALTHY") throw new ApiError(500, "Failed to deploy function");
    const work = deploying.then(async () => {
      const functions = project.record.functions;
      const deployment = await storeDeployment(project.home, slug, c.req.raw, functions);
      await project.deploy(slug, deployment);
      return deployment;
    });
    deploying = work.catch(() => {});
    return c.json(shown(slug, await work), 201);
  });
  app.get("/functions/:slug", (c) => {
    const slug = c.req.param("slug");
    const deployment = projectOf(platform, c).record.functions[slug];
    if (deployment === undefined) throw new ApiError(404, "Function not found");
    return c.json(shown(slug, deployment));
  });
  app.delete("/functions/:slug", async (c) => {
    const project = projectOf(platform, c);
    const slug = c.req.param("slug");
    if (project.record.functions[slug] === undefined) throw new ApiError(404, "Function not found");
    await project.removeFunction(slug);
    return c.body(null, 200);
  });
  return app;
}

function shown(slug: string, deployment: Deployment) {
  return {
    id: deployment.id,
    slug,
    name: deployment.name,
    status: "ACTIVE",
    version: deployment.version,
    created_at: deployment.createdAt,
    updated_at: deployment.updatedAt,
    verify_jwt: deployment.verifyJwt,
    import_map: deployment.importMap !== null,
    entrypoint_path: deployment.entrypoint,
    ...(deployment.importMap === null ? {} : { import_map_path: deployment.importMap }),
    ezbr_sha256: deployment.sha256,
  };
}

async function sha256(text: string): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
