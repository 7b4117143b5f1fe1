/** Generates the OpenAPI 3.1 document from the routes and their schemas. `task types` writes it to `openapi.json`. */
import * as z from "zod";
import { type ErrorCode, errorCodes } from "../../_shared/contracts/error_codes.ts";
import { ApiError } from "../../_shared/errors.ts";
import { pagingSchema } from "../paging.ts";
import type { ResponseSpec, Route, Shape } from "../routes/define.ts";
import { allRoutes } from "../routes/index.ts";
import { listOf, loosen } from "./objects/fields.ts";
import * as objects from "./objects/index.ts";

type Json = Record<string, unknown>;

const routes = await allRoutes();

/** Named schemas, collected while the routes are described. */
class Components {
  readonly schemas: Record<string, Json> = {};
  readonly responses: Record<string, Json> = {};
  readonly examples: Record<string, Json> = {};

  /** Converts a schema to JSON Schema. Schemas with an `id` become components. `input`: as clients send it. */
  of(schema: z.ZodType, io: "input" | "output"): Json {
    const { $schema: _, $defs, ...shape } = z.toJSONSchema(schema, {
      io,
      target: "draft-2020-12",
      override({ zodSchema, jsonSchema }) {
        // zod describes a file as a string with a content encoding.
        if (zodSchema._zod.def.type === "file") {
          for (const key of Object.keys(jsonSchema)) delete jsonSchema[key];
          jsonSchema.type = "string";
          jsonSchema.format = "binary";
        }
        if (io === "output") loosen(jsonSchema);
      },
    });
    for (const [name, definition] of Object.entries($defs ?? {})) {
      const { id: _, ...rest } = definition;
      this.schemas[name] = withComponentRefs(rest);
    }
    const { id, ...rest } = shape;
    if (typeof id !== "string") return withComponentRefs(rest);
    this.schemas[id] = withComponentRefs(rest);
    return { $ref: `#/components/schemas/${id}` };
  }
}

/** Replaces `#/$defs/X` with `#/components/schemas/X`. */
function withComponentRefs(schema: object): Json {
  return JSON.parse(JSON.stringify(schema).replaceAll('"#/$defs/', '"#/components/schemas/'));
}

const always: ErrorCode[] = ["internal"];
const withCredentials: ErrorCode[] = [
  "missing_api_key",
  "invalid_api_key",
  "invalid_token",
  "project_not_found",
  "project_without_members",
  "rate_limit_exceeded",
  "too_many_unknown_keys",
  "invalid_request",
  "unavailable",
  "database_unavailable",
];
const withOperatorSecret: ErrorCode[] = ["missing_api_key", "invalid_token", "database_unavailable"];
const withBody: ErrorCode[] = ["invalid_json", "too_large"];
const withIdempotency: ErrorCode[] = ["idempotency_key_reused", "idempotency_key_in_use"];

/** Whether a user or an API key calls it. */
const hasCaller = (scope: Route["scope"]) => scope !== "none" && scope !== "operator";

/** All error codes that a route can return. */
export function errorsOf(route: Route): ErrorCode[] {
  const { scope, form, paging, ifMatch, method, idempotency, errors = [] } = route;
  const all: ErrorCode[] = [...always];
  if (hasCaller(scope)) all.push(...withCredentials);
  if (scope === "operator") all.push(...withOperatorSecret);
  if (scope === "user") all.push("user_token_required");
  else if (hasCaller(scope) && scope !== "any") all.push("insufficient_scope", "insufficient_role");
  if (method === "POST" && hasCaller(scope)) {
    all.push(...withBody, ...(idempotency === "none" ? [] : withIdempotency));
  }
  if (form !== undefined) all.splice(all.indexOf("invalid_json"), 1);
  if (paging !== undefined) all.push("cursor_not_found");
  if (ifMatch) all.push("precondition_failed");
  return [...new Set([...all, ...errors])];
}

const parameter = (name: string, where: "header" | "path" | "query", description: string, schema: Json) => ({
  name,
  in: where,
  ...(description === "" ? {} : { description }),
  ...(where === "path" ? { required: true } : {}),
  schema,
});
const headers = {
  IdempotencyKey: parameter(
    "Idempotency-Key",
    "header",
    "Makes retries safe: repeating a request with the same key within a day returns the first response.",
    { type: "string", minLength: 1, maxLength: 255 },
  ),
  IfMatch: parameter(
    "If-Match",
    "header",
    "The ETag of the version to change. If the resource has changed since, the response is 412.",
    {
      type: "string",
    },
  ),
  IfNoneMatch: parameter(
    "If-None-Match",
    "header",
    "An ETag. If the resource has not changed, the response is 304.",
    {
      type: "string",
    },
  ),
  Project: parameter(
    "OpenAI-Project",
    "header",
    "For users: the project (`proj_…`), if it is not their first.",
    {
      type: "string",
    },
  ),
};
const header = (name: keyof typeof headers) => ({ $ref: `#/components/parameters/${name}` });

/** The document for a version of the project. The route that serves it sets `servers`. */
export function openApi(version: string): Json {
  const components = new Components();
  const paths: Record<string, Json> = {};
  for (const { tag, ...route } of routes) {
    (paths[route.path] ??= {})[route.method.toLowerCase()] = describe(route, tag, components);
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Tunebase",
      version,
      summary: "An OpenAI-compatible fine-tuning API for open models",
      description:
        "Use the official OpenAI SDKs with this base URL. Timestamps are Unix seconds. Lists are paginated with `limit` and " +
        "`after`. Errors are problem+json (RFC 9457) with the additional member `error` that the SDKs read.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: "/functions/v1/tunebase" }],
    security: [{ bearer: [] }],
    tags: [...new Set(routes.map(({ tag }) => tag))].map((name) => ({ name })),
    paths,
    components: {
      securitySchemes: {
        bearer: {
          type: "http",
          scheme: "bearer",
          description: "A Tunebase API key (`tb_…`) or a Supabase user's access token",
        },
        operator: {
          type: "http",
          scheme: "bearer",
          description: "The metrics secret, which the operator derives from the master key",
        },
      },
      parameters: headers,
      schemas: sorted(components.schemas),
      responses: sorted(components.responses),
      examples: sorted(components.examples),
    },
  };
}

/** Resolves a shape to its schema. */
function schemaOf(shape: Shape): z.ZodType {
  if (typeof shape === "function") return shape();
  const [, name = "", list] = /^(\w+)(\[\])?$/.exec(shape) ?? [];
  const found: unknown = Reflect.get(objects, name);
  if (!(found instanceof z.ZodType)) throw new Error(`openapi/objects/ has no ${name}`);
  return list === undefined ? found : listOf(found);
}

/** A route's responses by status. */
function responsesOf({ response }: Route): Record<number, ResponseSpec> {
  return typeof response === "object"
    ? response
    : { 200: { description: "OK", content: { "application/json": response } } };
}

/** A route's query parameters, including those of pagination. */
export function queryOf({ paging, query }: Route): z.ZodObject | undefined {
  return paging === undefined ? query : pagingSchema(paging).extend(query?.shape ?? {});
}

function describe(route: Route, tag: string, components: Components): Json {
  const { path, id, summary, description, scope, ifMatch, method, idempotency } = route;
  const parameters: unknown[] = [...path.matchAll(/\{(\w+)\}/g)].map(([, name = ""]) =>
    parameter(name, "path", "", { type: "string", minLength: 1 })
  );
  const query = queryOf(route);
  if (query !== undefined) {
    const { properties } = components.of(query, "input") as { properties: Record<string, Json> };
    for (const [name, schema] of Object.entries(properties)) {
      parameters.push(parameter(name, "query", "", schema));
    }
  }
  if (hasCaller(scope)) {
    parameters.push(header("Project"));
    if (method === "POST" && idempotency !== "none") parameters.push(header("IdempotencyKey"));
    if (method === "GET") parameters.push(header("IfNoneMatch"));
  }
  if (ifMatch) parameters.push(header("IfMatch"));
  const notChanged = method === "GET" && hasCaller(scope) ? { 304: { description: "Not modified" } } : {};
  return {
    operationId: id,
    tags: [tag],
    summary,
    ...describedScope(scope, description),
    ...(hasCaller(scope) ? {} : { security: scope === "none" ? [] : [{ operator: [] }] }),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...requestBody(route, components),
    responses: {
      ...Object.fromEntries(
        Object.entries(responsesOf(route)).map(([status, { description, content }]) => [status, {
          description,
          ...(content === undefined ? {} : {
            content: Object.fromEntries(
              Object.entries(content).map(([type, shape]) => [type, {
                schema: components.of(schemaOf(shape), "output"),
              }]),
            ),
          }),
        }]),
      ),
      ...notChanged,
      ...errorResponses(errorsOf(route), components),
    },
  };
}

function requestBody({ body, example, form }: Route, components: Components): Json {
  const content = (type: string, schema: z.ZodType) => ({
    [type]: { schema: components.of(schema, "input"), ...(example === undefined ? {} : { example }) },
  });
  if (form !== undefined) {
    return { requestBody: { required: true, content: content("multipart/form-data", form()) } };
  }
  if (body === undefined) return {};
  // An empty body is `{}`.
  const required = !body.safeParse({}).success;
  return { requestBody: { required, content: content("application/json", body) } };
}

function describedScope(scope: Route["scope"], description: string | undefined): Json {
  const requirement = scope === "none"
    ? "Requires no authentication."
    : scope === "any"
    ? "Requires no scope."
    : scope === "user"
    ? "Requires a user's access token."
    : scope === "operator"
    ? "Requires the operator's metrics secret."
    : `Requires the scope \`${scope}\`.`;
  return { description: description === undefined ? requirement : `${description} ${requirement}` };
}

const sorted = (named: Record<string, Json>) =>
  Object.fromEntries(Object.entries(named).sort(([a], [b]) => a < b ? -1 : 1));

/** Error responses by status, with examples. Routes with the same errors share one component. */
function errorResponses(codes: ErrorCode[], components: Components): Json {
  const schema = components.of(objects.Problem, "output");
  for (const code of codes) components.examples[code] ??= { value: exampleOf(code) };
  const byStatus = Map.groupBy(codes, (code) => errorCodes[code].status);
  return Object.fromEntries(
    [...byStatus].sort(([a], [b]) => a - b).map(([status, codes]) => {
      const name = codes.join(".");
      components.responses[name] ??= {
        description: codes.map((code) => errorCodes[code].title).join("; "),
        content: {
          "application/problem+json": {
            schema,
            examples: Object.fromEntries(
              codes.map((code) => [code, { $ref: `#/components/examples/${code}` }]),
            ),
          },
        },
      };
      return [status, { $ref: `#/components/responses/${name}` }];
    }),
  );
}

/** Fills in the messages of the examples. */
const detail = {
  model: "a-model",
  offered: ["SmolLM2-135M-Instruct"],
  what: "webhook endpoints per project",
  purpose: "fine-tune-results",
  scope: "jobs:write",
  role: "viewer",
  max: 20,
  status: "running",
  bytes: 1000,
  parts: 900,
  jobs: 2,
  email: "ada@example.com",
  limit: 10,
  used: 10,
  fix: "Delete one and try again.",
  spent: 9.5,
  reserved: 2,
  cap: 10,
  seconds: 12,
  time_zone: "Mars/Olympus",
  reason: "This server has no inference endpoint for SmolLM2-135M-Instruct.",
  problem: "are missing from Storage",
};

function exampleOf(code: ErrorCode): unknown {
  return ApiError.of(code, detail).body("req_0192f5c8a1b27c3d8e4f5a6b7c8d9e0f");
}
