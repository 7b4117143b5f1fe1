/** The settings of the Data API, Auth and Storage. Differs: Auth has only the fields of `record.ts`. */
import { Hono } from "hono";
import * as z from "zod";
import { ApiError } from "../errors.ts";
import { freeFileSizeLimit } from "../record.ts";
import { bodyOf, type Platform, projectOf } from "./context.ts";

const Postgrest = z.object({
  db_extra_search_path: z.string().optional(),
  db_schema: z.string().optional(),
  max_rows: z.int().min(0).max(1_000_000).optional(),
  db_pool: z.int().min(0).max(1000).optional(),
});
const Auth = z.object({
  site_url: z.string().regex(/^[^,]+$/).nullish(),
  uri_allow_list: z.string().nullish(),
  disable_signup: z.boolean().nullish(),
  jwt_exp: z.int().min(0).max(604_800).nullish(),
  external_email_enabled: z.boolean().nullish(),
  external_anonymous_users_enabled: z.boolean().nullish(),
  mailer_autoconfirm: z.boolean().nullish(),
  password_min_length: z.int().min(6).max(32_767).nullish(),
  refresh_token_rotation_enabled: z.boolean().nullish(),
});
const Enabled = z.object({ enabled: z.boolean() });
const Storage = z.strictObject({
  fileSizeLimit: z.int().min(0).max(536_870_912_000).optional(),
  features: z.object({ imageTransformation: Enabled.optional(), s3Protocol: Enabled.optional() }).optional(),
  external: z.object({ upstreamTarget: z.enum(["main", "canary"]) }).optional(),
});

export function settingRoutes(platform: Platform): Hono {
  const app = new Hono().basePath("/projects/:ref");
  app.get("/postgrest", (c) => c.json(projectOf(platform, c).record.postgrest));
  app.patch("/postgrest", async (c) => {
    const project = projectOf(platform, c);
    const changes = await bodyOf(c, Postgrest);
    const { postgrest } = project.record;
    project.record.postgrest = {
      db_schema: changes.db_schema ?? postgrest.db_schema,
      db_extra_search_path: changes.db_extra_search_path ?? postgrest.db_extra_search_path,
      max_rows: changes.max_rows ?? postgrest.max_rows,
      db_pool: changes.db_pool ?? postgrest.db_pool,
    };
    await project.save();
    return c.json(project.record.postgrest);
  });

  app.get("/config/auth", (c) => c.json(projectOf(platform, c).record.auth));
  app.patch("/config/auth", async (c) => {
    const project = projectOf(platform, c);
    const changes = Object.entries(await bodyOf(c, Auth)).filter(([, value]) => value !== undefined);
    project.record.auth = { ...project.record.auth, ...Object.fromEntries(changes) };
    await project.save();
    return c.json(project.record.auth);
  });

  app.get("/config/storage", (c) => {
    const { fileSizeLimit } = projectOf(platform, c).record.storage;
    const off = { enabled: false };
    return c.json({
      fileSizeLimit,
      features: {
        imageTransformation: off,
        s3Protocol: off,
        icebergCatalog: { ...off, maxNamespaces: 0, maxTables: 0, maxCatalogs: 0 },
        vectorBuckets: { ...off, maxBuckets: 0, maxIndexes: 0 },
      },
      capabilities: { list_v2: false, iceberg_catalog: false },
      external: { upstreamTarget: "main" },
      migrationVersion: "emulated",
      databasePoolMode: "transaction",
    });
  });
  app.patch("/config/storage", async (c) => {
    const project = projectOf(platform, c);
    const { fileSizeLimit } = await bodyOf(c, Storage);
    if (fileSizeLimit !== undefined) {
      if (platform.account.organization.plan === "free" && fileSizeLimit > freeFileSizeLimit) {
        throw new ApiError(402, `fileSizeLimit: the free plan allows up to ${freeFileSizeLimit} bytes`);
      }
      project.record.storage = { fileSizeLimit };
      await project.save();
    }
    return c.body(null, 200);
  });
  return app;
}
