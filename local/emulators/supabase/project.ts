/** A project of the emulated platform: its database, Auth, Storage, functions and timer behind one address. */
import postgres from "postgres";
import { freePort, namedPort } from "../../state_dir.ts";
import { join, removeIfThere } from "../../paths.ts";
import { denoEnvironment } from "../../stack/environment.ts";
import { startGateway } from "../../stack/gateway.ts";
import { type Keys, loadKeys, randomText } from "../../stack/keys.ts";
import { type Postgres, postgresDirectory } from "../../stack/postgres.ts";
import { marked } from "../../stack/processes.ts";
import { createAuth } from "../auth/mod.ts";
import { createStorage } from "../storage/mod.ts";
import { asRole, preparePlatform, setPassword, startDatabase } from "./database.ts";
import { deploymentFolder, functionFolder } from "./deployments.ts";
import { Functions } from "./functions.ts";
import { startPooler } from "./pooler.ts";
import { type Deployment, newSettings, type ProjectRecord, saveRecord } from "./record.ts";
import { startTimer } from "./timer.ts";

export type ProjectStatus = "COMING_UP" | "ACTIVE_HEALTHY" | "INIT_FAILED" | "GOING_DOWN";

interface Stoppable {
  stop(): Promise<void>;
}

export interface ProjectOptions {
  /** The project's folder. */
  home: string;
  /** Marks the environment of every process, so that the next start finds leftovers. */
  mark: string;
  log: (line: string) => void;
}

/** The record of a new project, with ports that are free now. */
export function newRecord(
  wanted: {
    ref: string;
    number: number;
    name: string;
    region: string;
    databasePassword: string;
    databasePort: number;
  },
): ProjectRecord {
  const { databasePort, ...rest } = wanted;
  const createdAt = new Date().toISOString();
  const key = (type: "publishable" | "secret") => ({
    id: crypto.randomUUID(),
    type,
    name: "default",
    key: `sb_${type}_${randomText(24)}`,
    insertedAt: createdAt,
  });
  return {
    ...rest,
    createdAt,
    created: false,
    ports: {
      gateway: freePort(0, ""),
      database: freePort(databasePort, "TUNEBASE_DB_PORT"),
      pooler: freePort(0, ""),
    },
    apiKeys: [key("publishable"), key("secret")],
    secrets: {},
    functions: {},
    ...structuredClone(newSettings),
  };
}

export class Project {
  status: ProjectStatus = "COMING_UP";
  readonly #started: Stoppable[] = [];
  #database: Postgres | null = null;
  #keys: Keys | null = null;
  #functions: Functions | null = null;
  #starting: Promise<void> = Promise.resolve();

  constructor(readonly record: ProjectRecord, private readonly options: ProjectOptions) {}

  get url(): string {
    return `http://127.0.0.1:${this.record.ports.gateway}`;
  }

  get home(): string {
    return this.options.home;
  }

  /** The address of the database for `postgres`, without the pooler. */
  get databaseUrl(): string | null {
    if (this.#database === null) return null;
    return asRole(this.#database.url, "postgres", this.record.databasePassword);
  }

  async save(): Promise<void> {
    await saveRecord(this.options.home, this.record);
  }

  /** Starts everything, and prepares the database the first time. Sets the status; never rejects. */
  async start(): Promise<void> {
    if (this.status === "GOING_DOWN") return; // deleted before it was ready
    this.#starting = this.#startParts();
    await this.#starting;
  }

  async #startParts(): Promise<void> {
    try {
      await this.#start();
      if (this.status === "COMING_UP") this.status = "ACTIVE_HEALTHY";
    } catch (error) {
      this.status = "INIT_FAILED";
      this.options.log(`supabase: project ${this.record.ref} did not start: ${error}`);
      await this.stop();
    }
  }

  async #start(): Promise<void> {
    const { home, log } = this.options;
    const { ports, ref } = this.record;
    await Deno.mkdir(join(home, "logs"), { recursive: true, mode: 0o700 });
    const keys = await loadKeys(home);
    this.#keys = keys;
    const database = await startDatabase({ home, port: ports.database, password: keys.passwords.postgres });
    this.#started.push(database);
    if (!this.record.created) {
      await preparePlatform(database.url, this.record.databasePassword);
      this.record.created = true;
      await this.save();
    }
    this.#database = database;
    await namedPort(ports.pooler, "TUNEBASE_PORT", log);
    this.#started.push(startPooler({ port: ports.pooler, databasePort: ports.database, ref }));

    const sql = postgres(database.url, {
      max: 8,
      idle_timeout: 20,
      backoff: (failures) => Math.min(1, failures * 0.1),
      onnotice: () => {},
    });
    this.#started.push({ stop: () => sql.end({ timeout: 5 }) });
    const functions = new Functions({
      home,
      log,
      environment: () => this.#environment(),
      publicJwk: keys.publicJwk,
    });
    this.#functions = functions;
    this.#started.push(functions);
    await this.#serve(sql, keys, functions);
    for (const [slug, deployment] of Object.entries(this.record.functions)) {
      functions.replace(slug, deployment);
    }
    this.#started.push(startTimer(database.url, log));
  }

  async #serve(sql: postgres.Sql, keys: Keys, functions: Functions): Promise<void> {
    const { home, log } = this.options;
    const credentials = { publishableKey: this.#key("publishable"), secretKey: this.#key("secret") };
    const auth = createAuth({
      sql,
      issuer: `${this.url}/auth/v1`,
      privateJwk: keys.privateJwk,
      publicJwk: keys.publicJwk,
      ...credentials,
      settings: () => this.#authSettings(),
      mail: ({ to, link }) => log(`a link to sign in as ${to}: ${link}`),
    });
    const storage = await createStorage({
      sql,
      root: join(home, "storage"),
      signingSecret: keys.storageSecret,
      secretKey: credentials.secretKey,
      fileSizeLimit: () => this.record.storage.fileSizeLimit,
    });
    await namedPort(this.record.ports.gateway, "TUNEBASE_PORT", log);
    this.#started.push(startGateway(this.record.ports.gateway, [
      { prefix: "/auth/v1", handle: (request) => auth.fetch(request) },
      { prefix: "/storage/v1", handle: (request) => storage.fetch(request) },
    ], (slug) => functions.route(slug)));
  }

  #authSettings() {
    const { site_url, uri_allow_list, disable_signup } = this.record.auth;
    return {
      disableSignup: disable_signup === true,
      siteUrl: typeof site_url === "string" ? site_url : null,
      redirectUrls: typeof uri_allow_list === "string" && uri_allow_list !== ""
        ? uri_allow_list.split(",").map((pattern) => pattern.trim())
        : [],
    };
  }

  #key(type: "publishable" | "secret"): string {
    return this.record.apiKeys.find((key) => key.type === type && key.name === "default")?.key ?? "";
  }

  #environment(): Record<string, string> {
    const secrets = Object.entries(this.record.secrets).map(([name, { value }]) => [name, value] as const);
    return {
      ...marked(this.options.mark),
      ...denoEnvironment(),
      ...this.platformEnvironment(),
      ...Object.fromEntries(secrets),
    };
  }

  /** The variables that the platform sets for every function. */
  platformEnvironment(): Record<string, string> {
    return {
      SUPABASE_URL: this.url,
      SUPABASE_DB_URL: this.databaseUrl ?? "",
      SUPABASE_PUBLISHABLE_KEYS: JSON.stringify({ default: this.#key("publishable") }),
      SUPABASE_SECRET_KEYS: JSON.stringify({ default: this.#key("secret") }),
      SUPABASE_JWKS: JSON.stringify({ keys: this.#keys === null ? [] : [this.#keys.publicJwk] }),
    };
  }

  /** Serves a new deployment. */
  async deploy(slug: string, deployment: Deployment): Promise<void> {
    const before = this.record.functions[slug];
    this.record.functions[slug] = deployment;
    await this.save();
    this.#functions?.replace(slug, deployment, async () => {
      if (before !== undefined) {
        await removeIfThere(deploymentFolder(this.options.home, before));
      }
    });
  }

  /** Removes a function and its files. */
  async removeFunction(slug: string): Promise<void> {
    const before = this.record.functions[slug];
    delete this.record.functions[slug];
    await this.save();
    this.#functions?.replace(slug, null, async () => {
      if (before !== undefined) await removeIfThere(functionFolder(this.options.home, before));
    });
  }

  /** Restarts the functions after a change of secrets. */
  async secretsChanged(): Promise<void> {
    await this.save();
    this.#functions?.restart();
  }

  /** Changes the password of `postgres`. */
  async setDatabasePassword(password: string): Promise<void> {
    if (this.#database !== null) await setPassword(this.#database.url, password);
    this.record.databasePassword = password;
    await this.secretsChanged();
  }

  async stop(): Promise<void> {
    this.#database = null;
    this.#functions = null;
    for (const part of this.#started.splice(0).reverse()) await part.stop();
  }

  /** Stops it and deletes everything. */
  async remove(): Promise<void> {
    this.status = "GOING_DOWN";
    await this.#starting;
    await this.stop();
    await removeIfThere(await postgresDirectory(this.options.home));
    await removeIfThere(this.options.home);
  }
}
