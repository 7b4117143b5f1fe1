/** Organizations, projects, health and API keys. */
import { Hono } from "hono";
import * as z from "zod";
import { randomText } from "../../../stack/keys.ts";
import { ApiError, checked } from "../errors.ts";
import type { Project } from "../project.ts";
import type { ApiKey } from "../record.ts";
import { bodyOf, type Platform, projectOf } from "./context.ts";

const freeProjects = 2;
const regions = [
  ...["us-east-1", "us-east-2", "us-west-1", "us-west-2", "ap-east-1", "ap-southeast-1", "ap-northeast-1"],
  ...[
    "ap-northeast-2",
    "ap-southeast-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eu-north-1",
    "eu-central-1",
  ],
  ...["eu-central-2", "ca-central-1", "ap-south-1", "sa-east-1"],
] as const;
/** The region in which this emulator creates a group's projects. */
const groups = { americas: "us-east-1", emea: "eu-central-1", apac: "ap-southeast-1" } as const;

const NewProject = z.strictObject({
  db_pass: z.string(),
  name: z.string().max(256),
  organization_id: z.string().optional(),
  organization_slug: z.string().regex(/^[\w-]+$/),
  plan: z.enum(["free", "pro"]).optional(),
  region: z.enum(regions).optional(),
  region_selection: z.discriminatedUnion("type", [
    z.object({ type: z.literal("specific"), code: z.enum(regions) }),
    z.object({ type: z.literal("smartGroup"), code: z.enum(["americas", "emea", "apac"]) }),
  ]).optional(),
  kps_enabled: z.boolean().optional(),
  desired_instance_size: z.string().optional(),
  template_url: z.url().optional(),
  release_channel: z.string().optional(),
  postgres_engine: z.string().optional(),
});

const services = [
  ...["auth", "db", "db_postgres_user", "pooler", "realtime", "rest", "storage", "pg_bouncer"],
] as const;
const NewKey = z.object({
  type: z.enum(["publishable", "secret"]),
  name: z.string().min(4).max(64).regex(/^[a-z_][a-z0-9_]+$/),
  secret_jwt_template: z.record(z.string(), z.unknown()).nullish(),
});

export function projectRoutes(platform: Platform): Hono {
  const app = new Hono();
  const { organization } = platform.account;
  app.get("/profile", (c) =>
    c.json({
      gotrue_id: "00000000-0000-4000-8000-000000000000",
      primary_email: "operator@tunebase.local",
      username: "operator",
    }));
  app.get("/organizations", (c) => {
    const { id, slug, name } = organization;
    return c.json([{ id, slug, name }]);
  });
  app.get("/organizations/:slug", (c) => {
    if (c.req.param("slug") !== organization.slug) throw new ApiError(404, "Organization not found");
    const { id, name, plan } = organization;
    return c.json({ id, name, plan, opt_in_tags: [], allowed_release_channels: ["ga"] });
  });

  app.get(
    "/projects",
    (c) => c.json([...platform.projects.values()].map((project) => shown(platform, project))),
  );
  app.post("/projects", async (c) => {
    const wanted = await bodyOf(c, NewProject);
    if (wanted.organization_slug !== organization.slug) {
      throw new ApiError(403, "Your account does not have access to this organization");
    }
    if (organization.plan === "free" && platform.projects.size >= freeProjects) {
      throw new ApiError(
        400,
        "The organization has members who have exceeded their free project limits: " +
          `operator (${freeProjects} project limit). Delete, pause or upgrade one or more of these projects.`,
      );
    }
    const { region_selection: selection } = wanted;
    const region = selection === undefined
      ? wanted.region ?? "us-east-1"
      : selection.type === "specific"
      ? selection.code
      : groups[selection.code];
    const project = await platform.create({ name: wanted.name, region, databasePassword: wanted.db_pass });
    const { database: _, ...rest } = shown(platform, project);
    return c.json(rest, 201);
  });
  app.get("/projects/:ref", (c) => c.json(shown(platform, projectOf(platform, c))));
  app.delete("/projects/:ref", (c) => {
    const project = projectOf(platform, c);
    platform.remove(project);
    const { number: id, ref, name } = project.record;
    return c.json({ id, ref, name });
  });

  app.get("/projects/:ref/health", (c) => {
    const project = projectOf(platform, c);
    const asked = (c.req.queries("services") ?? []).flatMap((text) => text.split(","));
    const names =
      checked(z.object({ services: z.array(z.enum(services)).min(1) }), { services: asked }).services;
    const isUp = project.status === "ACTIVE_HEALTHY";
    const status = isUp ? "ACTIVE_HEALTHY" : project.status === "COMING_UP" ? "COMING_UP" : "UNHEALTHY";
    return c.json(names.map((name) => ({ name, healthy: isUp, status })));
  });

  app.get("/projects/:ref/api-keys", (c) => {
    const project = projectOf(platform, c);
    const reveal = c.req.query("reveal") === "true";
    return c.json(project.record.apiKeys.map((key) => shownKey(key, reveal)));
  });
  app.post("/projects/:ref/api-keys", async (c) => {
    const project = projectOf(platform, c);
    const { type, name } = await bodyOf(c, NewKey);
    if (project.record.apiKeys.some((key) => key.type === type && key.name === name)) {
      throw new ApiError(400, `An API key of type ${type} with the name ${name} already exists`);
    }
    const key: ApiKey = {
      id: crypto.randomUUID(),
      type,
      name,
      key: `sb_${type}_${randomText(24)}`,
      insertedAt: new Date().toISOString(),
    };
    project.record.apiKeys.push(key);
    await project.save();
    return c.json(shownKey(key, c.req.query("reveal") === "true"), 201);
  });
  return app;
}

function shown({ account: { organization } }: Platform, { record, status }: Project) {
  return {
    id: record.ref,
    ref: record.ref,
    organization_id: organization.id,
    organization_slug: organization.slug,
    name: record.name,
    region: record.region,
    created_at: record.createdAt,
    status,
    database: {
      host: "127.0.0.1",
      version: "17.10.0",
      postgres_engine: "17",
      release_channel: "ga",
    },
  };
}

/** A secret key is shown in full only on request. */
function shownKey({ id, type, name, key, insertedAt }: ApiKey, reveal: boolean) {
  const prefix = key.slice(0, "sb_secret_".length + 5);
  return {
    id,
    type,
    name,
    prefix: type === "secret" ? prefix : null,
    api_key: type === "publishable" || reveal ? key : `${prefix}···`,
    hash: null,
    inserted_at: insertedAt,
    updated_at: insertedAt,
  };
}
