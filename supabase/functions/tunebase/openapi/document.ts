/** The OpenAPI 3.1 document, of the operations and their schemas. Written to `api/openapi.json` by `task types`. */
import * as z from "zod";
import { ApiError, type ErrorCode, errorCodes } from "../../_shared/errors.ts";
import { open, Problem } from "./objects.ts";
import { type Content, type Operation, operations } from "./operations.ts";

type Json = Record<string, unknown>;

/** Schemas with a name, gathered while the operations are gone through. */
class Components {
  readonly schemas: Record<string, Json> = {};
  readonly responses: Record<string, Json> = {};
  readonly examples: Record<string, Json> = {};

  /** A schema as JSON Schema; what has an `id` is kept by that name. `input`: as a client sends it. */
  of(schema: z.ZodType, io: "input" | "output"): Json {
    const { $schema: _, $defs, ...shape } = z.toJSONSchema(schema, {
      io,
      target: "draft-2020-12",
      override({ zodSchema, jsonSchema }) {
        // A file's bytes are its part's or its body's, and no text.
        if (zodSchema._zod.def.type === "file") {
          for (const key of Object.keys(jsonSchema)) delete jsonSchema[key];
          jsonSchema.type = "string";
          jsonSchema.format = "binary";
        }
        if (io === "output") open(jsonSchema);
      },
    });
    for (const [name, definition] of Object.entries($defs ?? {})) {
      const { id: _, ...rest } = definition;
      this.schemas[name] = moved(rest);
    }
    const { id, ...rest } = shape;
    if (typeof id !== "string") return moved(rest);
    this.schemas[id] = moved(rest);
    return { $ref: `#/components/schemas/${id}` };
  }
}

/** `#/$defs/X` as `#/components/schemas/X`, everywhere. */
function moved(schema: object): Json {
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
const withBody: ErrorCode[] = [
  "invalid_json",
  "too_large",
  "idempotency_key_reused",
  "idempotency_key_in_use",
];

/** Every code that an operation can answer with. */
export function errorsOf(operation: Operation): ErrorCode[] {
  const { scope, body, query, ifMatch, method, errors } = operation;
  const all: ErrorCode[] = [...always];
  if (scope !== "none") all.push(...withCredentials);
  if (scope === "person") all.push("user_token_required");
  else if (scope !== "none" && scope !== "any") all.push("insufficient_scope", "insufficient_role");
  if (method === "post" && scope !== "none") all.push(...withBody);
  if (body?.["multipart/form-data"] !== undefined) all.splice(all.indexOf("invalid_json"), 1);
  if (query !== undefined && "after" in query.shape) all.push("cursor_not_found");
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
    "The same request with the same key within a day has the same answer, and happens once.",
    { type: "string", minLength: 1, maxLength: 255 },
  ),
  IfMatch: parameter(
    "If-Match",
    "header",
    "The ETag of what is changed: refused with 412 if it is another by now.",
    {
      type: "string",
    },
  ),
  IfNoneMatch: parameter("If-None-Match", "header", "An ETag: answered with 304 if nothing has changed.", {
    type: "string",
  }),
  Project: parameter("OpenAI-Project", "header", "A user's project, if it is not the first (`proj_…`).", {
    type: "string",
  }),
};
const header = (name: keyof typeof headers) => ({ $ref: `#/components/parameters/${name}` });

/** The whole document. `servers` is for whoever serves it to fill. */
export function openApi(): Json {
  const components = new Components();
  const paths: Record<string, Json> = {};
  for (const operation of operations) {
    (paths[operation.path] ??= {})[operation.method] = describe(operation, components);
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Tunebase",
      version: "1",
      summary: "Fine-tuning of open models, in OpenAI's shapes",
      description:
        "The official OpenAI SDKs work unchanged with this base URL. Times are Unix seconds. Lists have `limit` and " +
        "`after`. Errors are problem+json (RFC 9457) with the member `error` that the SDKs read.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: "/functions/v1/tunebase" }],
    security: [{ bearer: [] }],
    tags: [...new Set(operations.map(({ tag }) => tag))].map((name) => ({ name })),
    paths,
    components: {
      securitySchemes: {
        bearer: {
          type: "http",
          scheme: "bearer",
          description: "A Tunebase API key (`tb_…`) or a Supabase user's access token",
        },
      },
      parameters: headers,
      schemas: sorted(components.schemas),
      responses: sorted(components.responses),
      examples: sorted(components.examples),
    },
  };
}

function describe(operation: Operation, components: Components): Json {
  const { path, id, tag, summary, description, scope, query, body, example, answers, ifMatch, method } =
    operation;
  const content = (of: Content, io: "input" | "output", example?: unknown) =>
    Object.fromEntries(
      Object.entries(of).map(([type, schema]) => [type, {
        schema: components.of(schema, io),
        ...(example === undefined ? {} : { example }),
      }]),
    );
  const parameters: unknown[] = [...path.matchAll(/\{(\w+)\}/g)].map(([, name = ""]) =>
    parameter(name, "path", "", { type: "string", minLength: 1 })
  );
  if (query !== undefined) {
    const { properties } = components.of(query, "input") as { properties: Record<string, Json> };
    for (const [name, schema] of Object.entries(properties)) {
      parameters.push(parameter(name, "query", "", schema));
    }
  }
  if (scope !== "none") {
    parameters.push(header("Project"));
    if (method === "post") parameters.push(header("IdempotencyKey"));
    if (method === "get") parameters.push(header("IfNoneMatch"));
  }
  if (ifMatch) parameters.push(header("IfMatch"));
  const notChanged = method === "get" && scope !== "none" ? { 304: { description: "Not changed" } } : {};
  return {
    operationId: id,
    tags: [tag],
    summary,
    ...describedScope(scope, description),
    ...(scope === "none" ? { security: [] } : {}),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(body === undefined
      ? {}
      : { requestBody: { required: needed(body), content: content(body, "input", example) } }),
    responses: {
      ...Object.fromEntries(
        Object.entries(answers).map(([status, { description, content: of }]) => [status, {
          description,
          ...(of === undefined ? {} : { content: content(of, "output") }),
        }]),
      ),
      ...notChanged,
      ...refusals(errorsOf(operation), components),
    },
  };
}

/** Whether nothing at all is refused as a body; an empty one is `{}`. */
function needed(body: Content): boolean {
  return !(body["application/json"]?.safeParse({}).success ?? false);
}

function describedScope(scope: Operation["scope"], description: string | undefined): Json {
  const needs = scope === "none"
    ? "Needs no credentials."
    : scope === "any"
    ? "Needs no scope."
    : scope === "person"
    ? "Needs a user's access token."
    : `Needs the scope \`${scope}\`.`;
  return { description: description === undefined ? needs : `${description} ${needs}` };
}

const sorted = (named: Record<string, Json>) =>
  Object.fromEntries(Object.entries(named).sort(([a], [b]) => a < b ? -1 : 1));

/** Errors by their status, each with an example of its body. The same ones are described once. */
function refusals(codes: ErrorCode[], components: Components): Json {
  const schema = components.of(Problem, "output");
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

/** What the sentences of the registry are filled with in examples. */
const detail = {
  model: "a-model",
  offered: ["SmolLM2-135M-Instruct"],
  what: "webhook endpoints",
  purpose: "fine-tune-results",
  scope: "jobs:write",
  role: "viewer",
  most: 20,
  status: "running",
  bytes: 1000,
  parts: 900,
  jobs: 2,
  email: "ada@example.com",
  limit: 10,
  used: 10,
  do: "Delete one that is not needed.",
  spent: 9.5,
  reserved: 2,
  cap: 10,
  seconds: 12,
  time_zone: "Mars/Olympus",
};

function exampleOf(code: ErrorCode): unknown {
  return ApiError.of(code, detail).body("req_0192f5c8a1b27c3d8e4f5a6b7c8d9e0f");
}
