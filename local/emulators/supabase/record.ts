/** The stored state of a project: `project.json` in the project's folder. */
import * as z from "zod";
import { join, writePrivate } from "../../paths.ts";

const Deployment = z.object({
  id: z.string(),
  name: z.string(),
  version: z.int(),
  entrypoint: z.string(),
  importMap: z.string().nullable(),
  verifyJwt: z.boolean(),
  createdAt: z.int(),
  updatedAt: z.int(),
  sha256: z.string(),
});
export type Deployment = z.infer<typeof Deployment>;

const ApiKey = z.object({
  id: z.string(),
  type: z.enum(["publishable", "secret"]),
  name: z.string(),
  key: z.string(),
  insertedAt: z.string(),
});
export type ApiKey = z.infer<typeof ApiKey>;

export const ProjectRecord = z.object({
  ref: z.string(),
  number: z.int(),
  name: z.string(),
  region: z.string(),
  createdAt: z.string(),
  /** Whether the database has been prepared. */
  created: z.boolean(),
  ports: z.object({ gateway: z.int(), database: z.int(), pooler: z.int() }),
  /** The password of the role `postgres`. */
  databasePassword: z.string(),
  apiKeys: z.array(ApiKey),
  secrets: z.record(z.string(), z.object({ value: z.string(), updatedAt: z.string() })),
  functions: z.record(z.string(), Deployment),
  storage: z.object({ fileSizeLimit: z.int() }),
  postgrest: z.object({
    db_schema: z.string(),
    db_extra_search_path: z.string(),
    max_rows: z.int(),
    db_pool: z.int().nullable(),
  }),
  /** In the API's format. */
  auth: z.record(z.string(), z.unknown()),
});
export type ProjectRecord = z.infer<typeof ProjectRecord>;

/** The file size limit of the free plan, in bytes. */
export const freeFileSizeLimit = 50 * 2 ** 20;

export const newSettings = {
  storage: { fileSizeLimit: freeFileSizeLimit },
  postgrest: {
    db_schema: "public,graphql_public",
    db_extra_search_path: "public, extensions",
    max_rows: 1000,
    db_pool: null,
  },
  auth: {
    site_url: "http://localhost:3000",
    uri_allow_list: "",
    disable_signup: false,
    jwt_exp: 3600,
    external_email_enabled: true,
    external_anonymous_users_enabled: false,
    mailer_autoconfirm: false,
    password_min_length: 6,
    refresh_token_rotation_enabled: true,
  },
} satisfies Partial<ProjectRecord>;

export async function loadRecord(folder: string): Promise<ProjectRecord> {
  return ProjectRecord.parse(JSON.parse(await Deno.readTextFile(join(folder, "project.json"))));
}

export async function saveRecord(folder: string, record: ProjectRecord): Promise<void> {
  await writePrivate(join(folder, "project.json"), `${JSON.stringify(record, null, 2)}\n`);
}
