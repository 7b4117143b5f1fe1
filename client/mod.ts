/**
 * The API's typed client: openapi-fetch over the types of `api.d.ts`, which `task types` makes of the OpenAPI document.
 * The command line and the dashboard use it. Nothing here needs Deno.
 */
import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./api.d.ts";

/** The objects of the API by their names: `Schemas["FineTuningJob"]`. */
export type Schemas = components["schemas"];
export type Api = Client<paths>;

/** What the API refuses with. */
export class RefusedError extends Error {
  readonly code: string;
  readonly status: number;
  constructor(readonly problem: Schemas["Problem"]) {
    super(problem.detail);
    this.name = "RefusedError";
    this.code = problem.error.code;
    this.status = problem.status;
  }
}

/** `token`: an API key or an access token, asked for at each request. `fetch` is the platform's unless told. */
export function connect(options: {
  baseUrl: string;
  token: () => string | null | Promise<string | null>;
  project?: () => string | null;
  fetch?: (request: Request) => Promise<Response>;
}): Api {
  const api = createClient<paths>({
    baseUrl: options.baseUrl,
    ...(options.fetch ? { fetch: options.fetch } : {}),
  });
  api.use({
    async onRequest({ request }) {
      const token = await options.token();
      if (token !== null) request.headers.set("authorization", `Bearer ${token}`);
      const project = options.project?.() ?? null;
      if (project !== null) request.headers.set("openai-project", project);
      return request;
    },
  });
  return api;
}

/** The answer's body; throws a RefusedError where there is none. */
export function unwrap<T>(answer: { data?: T; error?: unknown; response: Response }): T {
  if (answer.response.ok && answer.data !== undefined) return answer.data;
  const { error, response } = answer;
  if (isProblem(error)) throw new RefusedError(error);
  throw new Error(`The server answered ${response.status} ${response.statusText}, and not as this API does.`);
}

function isProblem(value: unknown): value is Schemas["Problem"] {
  return value !== null && typeof value === "object" && "error" in value && "detail" in value;
}
