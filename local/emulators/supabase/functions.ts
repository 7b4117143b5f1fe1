/** A project's deployed functions: starts and replaces their processes, and admits requests. */
import { importJWK, type JWK, jwtVerify } from "jose";
import { join } from "../../paths.ts";
import { limitsSetting } from "../functions/limits.ts";
import { createFunction, type EdgeFunction } from "../functions/mod.ts";
import { deploymentFolder, resolutionOptions } from "./deployments.ts";
import type { Deployment } from "./record.ts";

/** How long requests to a replaced function may take to finish. */
const drainMs = 10_000;

interface Options {
  /** The project's folder. */
  home: string;
  log: (line: string) => void;
  /** The functions' environment. */
  environment: () => Record<string, string>;
  /** Verifies tokens for functions that require it. */
  publicJwk: JWK;
}

/** The interface for the gateway. */
type Callable = Pick<EdgeFunction, "fetch">;

export class Functions {
  readonly #running = new Map<string, { edge: EdgeFunction; deployment: Deployment }>();
  readonly #draining = new Set<Promise<void>>();

  constructor(private readonly options: Options) {}

  /**
   * Replaces the current deployment of `slug` with another one, or with none (null). Runs `cleanUp` once requests to the old
   * processes have finished.
   */
  replace(slug: string, deployment: Deployment | null, cleanUp: () => Promise<void> = async () => {}): void {
    const old = this.#running.get(slug);
    this.#running.delete(slug);
    if (deployment !== null) this.#running.set(slug, { edge: this.#create(slug, deployment), deployment });
    if (old === undefined) return;
    const draining = old.edge.drain(drainMs).then(cleanUp).catch((error) => {
      this.options.log(`supabase: function ${slug}: ${error}`);
    });
    this.#draining.add(draining);
    void draining.finally(() => this.#draining.delete(draining));
  }

  /** Restarts all functions with the current environment. */
  restart(): void {
    for (const [slug, { deployment }] of [...this.#running]) this.replace(slug, deployment);
  }

  /** A function behind the gateway's check: requires a valid JWT if the deployment says so. */
  route(slug: string): Callable | undefined {
    const found = this.#running.get(slug);
    if (found === undefined || !found.deployment.verifyJwt) return found?.edge;
    return {
      fetch: async (request, path) => {
        const token = /^Bearer (.+)$/.exec(request.headers.get("authorization") ?? "")?.[1];
        if (request.method === "OPTIONS" || (token !== undefined && await this.#isValid(token))) {
          return await found.edge.fetch(request, path);
        }
        const message = token === undefined ? "Missing authorization header" : "Invalid JWT";
        return Response.json({ code: 401, message }, { status: 401 });
      },
    };
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#running.values()].map(({ edge }) => edge.stop()));
    this.#running.clear();
    await Promise.all(this.#draining);
  }

  async #isValid(token: string): Promise<boolean> {
    const key = await importJWK(this.options.publicJwk, "ES256");
    return await jwtVerify(token, key).then(() => true, () => false);
  }

  #create(slug: string, deployment: Deployment): EdgeFunction {
    const { home, environment } = this.options;
    const folder = deploymentFolder(home, deployment);
    return createFunction(slug, environment(), join(home, `logs/${slug}.log`), {
      script: join(folder, deployment.entrypoint),
      resolution: resolutionOptions(folder, deployment.importMap),
      limits: limitsSetting(),
    });
  }
}
