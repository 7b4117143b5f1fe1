/**
 * Route declarations. The app registers a route with the middleware that it needs, and the OpenAPI document and the table in
 * `docs/api.md` are generated from it.
 *
 * Not `@hono/zod-openapi`, because it slows down booting: importing it took 47 to 98 ms, hono and zod together 29 to 70
 * (four runs on a busy machine), and it needs all response schemas at run time.
 */
import type * as z from "zod";
import type { Scope } from "../../_shared/contracts/scopes.ts";
import type { ErrorCode } from "../../_shared/contracts/error_codes.ts";
import type { ApiContext } from "../context.ts";
import type * as objects from "../openapi/objects/index.ts";

type Objects = typeof objects;
export type ObjectName = { [N in keyof Objects]: Objects[N] extends z.ZodType ? N : never }[keyof Objects];

/**
 * A response body: the name of a schema in `openapi/objects/`, with `[]` for a list, or a schema. Names and functions, so
 * that only generating the document builds these schemas.
 */
export type Shape = ObjectName | `${ObjectName}[]` | (() => z.ZodType);

export interface ResponseSpec {
  description: string;
  /** By content type. */
  content?: Record<string, Shape>;
}

export interface Route {
  method: "GET" | "POST" | "DELETE";
  /** With `{parameters}`. */
  path: `/${string}`;
  /** The path parameter can contain slashes, as model ids do. */
  slashes?: boolean;
  /** The operation id. */
  id: string;
  summary: string;
  description?: string;
  /**
   * The required scope. "any": any authenticated caller; "user": users only; "operator": the operator's secret; "none": no
   * authentication.
   */
  scope: Scope | "any" | "user" | "operator" | "none";
  /** For lists with `limit` and `after`: the maximum page size. */
  paging?: number;
  query?: z.ZodObject;
  /** The schema of a JSON body. */
  body?: z.ZodType;
  /** A valid body. */
  example?: unknown;
  /** The fields of a multipart form. The handler limits its size. */
  form?: () => z.ZodObject;
  /** The JSON body of status 200, or the responses by status. */
  response: Shape | Record<number, ResponseSpec>;
  /** Error codes, in addition to those of all routes of its kind. */
  errors?: ErrorCode[];
  /** Supports If-Match. */
  ifMatch?: boolean;
  /**
   * "in_sql": its SQL function records the request in the same transaction. "none": it ignores an Idempotency-Key, because
   * storing its response would buffer a stream.
   */
  idempotency?: "in_sql" | "none";
  handler: (c: ApiContext) => Response | Promise<Response>;
}

export const defineRoute = (route: Route): Route => route;
