/**
 * The typed API client that the CLI and the dashboard share: openapi-fetch with the types of `api.d.ts`, which
 * `task types` generates from the OpenAPI document. It runs in Deno, Node and browsers.
 */
import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./api.d.ts";

/** The API's objects by name: `Schemas["FineTuningJob"]`. */
export type Schemas = components["schemas"];
export type Api = Client<paths>;

/** An error response of the API. */
export class ApiError extends Error {
  readonly code: string;
  readonly status: number;
  constructor(readonly problem: Schemas["Problem"]) {
    super(problem.detail);
    this.name = "ApiError";
    this.code = problem.error.code;
    this.status = problem.status;
  }
}

/** `token` returns an API key or an access token, for each request. `fetch` replaces the platform's fetch. */
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

/** The response's body. Throws an ApiError for an error response. */
export function unwrap<T>(result: { data?: T; error?: unknown; response: Response }): T {
  const { data, error, response } = result;
  if (response.ok && data !== undefined) return data;
  throw toError(response, error);
}

/** The error of a response that is not ok, for requests that do not go through the typed client. */
export async function readProblem(response: Response): Promise<Error> {
  return toError(response, await response.json().catch(() => null));
}

function toError(response: Response, error: unknown): Error {
  if (isProblem(error)) return new ApiError(error);
  return new Error(
    `The server responded with ${response.status} ${response.statusText}, but not in the format of this API.`,
  );
}

function isProblem(value: unknown): value is Schemas["Problem"] {
  return value !== null && typeof value === "object" && "error" in value && "detail" in value;
}
