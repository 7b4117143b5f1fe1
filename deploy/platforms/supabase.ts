/**
 * The part of Supabase's Management API (https://supabase.com/docs/reference/api) that a deployment needs, and the
 * project's Auth and Storage. Nothing here prints or stores a credential.
 */
import * as z from "zod";
import { DeployError } from "../errors.ts";
import { call, type Method, type PlatformOptions } from "./request.ts";

export const Project = z.object({
  ref: z.string(),
  name: z.string(),
  organization_slug: z.string(),
  region: z.string(),
  status: z.string(),
  created_at: z.string(),
});
export type Project = z.infer<typeof Project>;

const Organization = z.object({ slug: z.string(), name: z.string() });
const Health = z.object({ name: z.string(), status: z.string(), error: z.string().nullish() });
const ApiKey = z.object({
  name: z.string(),
  type: z.string().nullish(),
  api_key: z.string().nullish(),
});
const Secret = z.object({ name: z.string(), value: z.string() });
const EdgeFunction = z.object({ slug: z.string(), status: z.string(), version: z.int() });
const Pooler = z.object({
  database_type: z.string(),
  db_user: z.string(),
  db_host: z.string(),
  db_port: z.int(),
  db_name: z.string(),
  pool_mode: z.string(),
});
export type Pooler = z.infer<typeof Pooler>;

export class SupabaseApi {
  readonly #baseUrl: string;
  readonly #options: PlatformOptions;
  readonly #ref: () => string | null;
  #secretKey: string | null = null;

  /** `ref` returns the project's ref once it is known. */
  constructor(baseUrl: string, token: string, ref: () => string | null) {
    this.#baseUrl = baseUrl;
    this.#options = {
      platform: "Supabase",
      baseUrl: `${baseUrl}/v1`,
      token,
      refused:
        "Create a token at https://supabase.com/dashboard/account/tokens and set SUPABASE_ACCESS_TOKEN.",
    };
    this.#ref = ref;
  }

  /** A client for another project of the same account. */
  at(ref: string): SupabaseApi {
    return new SupabaseApi(this.#baseUrl, this.#options.token, () => ref);
  }

  #call<T>(method: Method, path: string, schema: z.ZodType<T>, body?: unknown): Promise<T> {
    return call(this.#options, method, path, schema, body);
  }

  /** The path of the project. */
  #project(path = ""): string {
    const ref = this.#ref();
    if (ref === null) throw new Error("the project does not exist yet");
    return `/projects/${ref}${path}`;
  }

  organizations(): Promise<z.infer<typeof Organization>[]> {
    return this.#call("GET", "/organizations", z.array(Organization));
  }

  projects(): Promise<Project[]> {
    return this.#call("GET", "/projects", z.array(Project));
  }

  /** The record of another project, or of this one. */
  project(ref?: string): Promise<Project> {
    return this.#call("GET", ref === undefined ? this.#project() : `/projects/${ref}`, Project);
  }

  /** Starts the creation of a project. Returns before it is usable. */
  createProject(
    { name, organization, region, password }: {
      name: string;
      organization: string;
      region: string;
      password: string;
    },
  ): Promise<{ ref: string }> {
    const group = ["americas", "emea", "apac"].includes(region);
    return this.#call("POST", "/projects", z.object({ ref: z.string() }), {
      name,
      organization_slug: organization,
      db_pass: password,
      region_selection: { type: group ? "smartGroup" : "specific", code: region },
    });
  }

  /** The services that are not ready, with Supabase's explanation. */
  async unhealthy(): Promise<string[]> {
    const services = ["db", "auth", "storage", "pooler"].map((name) => `services=${name}`).join("&");
    const health = await this.#call("GET", this.#project(`/health?${services}`), z.array(Health));
    return health.filter(({ status }) => status !== "ACTIVE_HEALTHY")
      .map(({ name, status, error }) => `${name} ${error ?? status.toLowerCase().replaceAll("_", " ")}`);
  }

  /** Runs SQL as the database's owner; several statements are one transaction. Returns the last one's rows. */
  query<T>(sql: string, schema: z.ZodType<T>, parameters: readonly unknown[] = []): Promise<T> {
    return this.#call("POST", this.#project("/database/query"), schema, {
      query: sql,
      ...(parameters.length === 0 ? {} : { parameters }),
    });
  }

  /** Runs SQL for its effect. */
  async execute(sql: string, parameters: readonly unknown[] = []): Promise<void> {
    await this.query(sql, z.unknown(), parameters);
  }

  /** Names and SHA-256 digests of the functions' secrets. */
  async secretDigests(): Promise<Map<string, string>> {
    const secrets = await this.#call("GET", this.#project("/secrets"), z.array(Secret));
    return new Map(secrets.map(({ name, value }) => [name, value]));
  }

  async setSecrets(secrets: Record<string, string>): Promise<void> {
    const body = Object.entries(secrets).map(([name, value]) => ({ name, value }));
    await this.#call("POST", this.#project("/secrets"), z.unknown(), body);
  }

  async deleteSecrets(names: string[]): Promise<void> {
    await this.#call("DELETE", this.#project("/secrets"), z.unknown(), names);
  }

  functions(): Promise<z.infer<typeof EdgeFunction>[]> {
    return this.#call("GET", this.#project("/functions"), z.array(EdgeFunction));
  }

  /** Uploads a function's source files; Supabase bundles them. Returns the deployment's version number. */
  async deployFunction(
    slug: string,
    files: { path: string; content: Uint8Array<ArrayBuffer> }[],
  ): Promise<number> {
    const form = new FormData();
    // The function authorizes requests itself, because the platform's check rejects API keys and callbacks.
    form.append(
      "metadata",
      JSON.stringify({
        name: slug,
        entrypoint_path: `supabase/functions/${slug}/index.ts`,
        import_map_path: "import_map.json",
        verify_jwt: false,
      }),
    );
    for (const { path, content } of files) {
      form.append("file", new Blob([content], { type: "application/typescript" }), path);
    }
    const { version } = await this.#call(
      "POST",
      this.#project(`/functions/deploy?slug=${slug}`),
      EdgeFunction,
      form,
    );
    return version;
  }

  async deleteFunction(slug: string): Promise<void> {
    await this.#call("DELETE", this.#project(`/functions/${slug}`), z.unknown());
  }

  /** The Data API's exposed schemas. */
  async exposedSchemas(): Promise<string[]> {
    const { db_schema } = await this.#call(
      "GET",
      this.#project("/postgrest"),
      z.object({ db_schema: z.string() }),
    );
    return list(db_schema);
  }

  async exposeSchemas(schemas: string[]): Promise<void> {
    await this.#call("PATCH", this.#project("/postgrest"), z.unknown(), { db_schema: schemas.join(", ") });
  }

  /** The largest object that Storage accepts, in bytes. */
  async fileSizeLimit(): Promise<number> {
    const { fileSizeLimit } = await this.#call(
      "GET",
      this.#project("/config/storage"),
      z.object({ fileSizeLimit: z.number() }),
    );
    return fileSizeLimit;
  }

  async setFileSizeLimit(bytes: number): Promise<void> {
    await this.#call("PATCH", this.#project("/config/storage"), z.unknown(), { fileSizeLimit: bytes });
  }

  /** The URLs that Auth may redirect to after a sign-in. */
  async redirectUrls(): Promise<string[]> {
    const { uri_allow_list } = await this.#call(
      "GET",
      this.#project("/config/auth"),
      z.object({ uri_allow_list: z.string().nullish() }),
    );
    return list(uri_allow_list ?? "");
  }

  async setRedirectUrls(urls: string[]): Promise<void> {
    await this.#call("PATCH", this.#project("/config/auth"), z.unknown(), { uri_allow_list: urls.join(",") });
  }

  /** The transaction pooler in front of the primary database. */
  async pooler(): Promise<Pooler> {
    const poolers = await this.#call("GET", this.#project("/config/database/pooler"), z.array(Pooler));
    const found = poolers.find(({ database_type }) => database_type === "PRIMARY");
    if (found === undefined) {
      throw new DeployError(
        "Supabase lists no connection pooler for the project.",
        "Wait a minute and run the command again.",
      );
    }
    return found;
  }

  /** The key for Auth's admin API and Storage. */
  async secretKey(): Promise<string> {
    if (this.#secretKey !== null) return this.#secretKey;
    const keys = await this.#call("GET", this.#project("/api-keys?reveal=true"), z.array(ApiKey));
    const found = keys.find(({ type }) => type === "secret") ??
      keys.find(({ name }) => name === "service_role");
    if (!found?.api_key) {
      throw new DeployError(
        "The project has no secret API key.",
        "Create one in the Supabase dashboard (Project settings, API keys), then run the command again.",
      );
    }
    return this.#secretKey = found.api_key;
  }
}

const list = (text: string) => text.split(",").map((item) => item.trim()).filter((item) => item !== "");
