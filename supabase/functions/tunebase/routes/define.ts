/**
 * A route, declared once. The app registers it with the middleware that it needs, the OpenAPI document and the table of
 * `docs/api.md` are made of it.
 *
 * Our own and small, because a function loads it before its first answer: `@hono/zod-openapi` took 47 to 98 ms to import
 * where hono and zod together took 29 to 70 (four runs on a busy machine), and it wants each answer's schema at run time.
 */
import type * as z from "zod";
import type { Scope } from "../../_shared/contracts/scopes.ts";
import type { ErrorCode } from "../../_shared/errors.ts";
import type { ApiContext } from "../context.ts";
import type * as objects from "../openapi/objects.ts";

type Objects = typeof objects;
export type ObjectName = { [N in keyof Objects]: Objects[N] extends z.ZodType ? N : never }[keyof Objects];

/**
 * What is answered: an object of `openapi/objects.ts` by its name, `[]` for a list of them, or a schema. By name or as a
 * function, so that only who makes the document builds these schemas.
 */
export type Shape = ObjectName | `${ObjectName}[]` | (() => z.ZodType);

export interface Answer {
  description: string;
  /** By content type. */
  content?: Record<string, Shape>;
}

export interface Route {
  method: "GET" | "POST" | "DELETE";
  /** With `{parameters}`. */
  path: `/${string}`;
  /** Its parameter may hold slashes, as the ids of models do. */
  slashes?: boolean;
  /** The operation's name in generated clients. */
  id: string;
  summary: string;
  description?: string;
  /** What the credentials must be allowed; "any": every caller; "person": a user; "none": no credentials at all. */
  scope: Scope | "any" | "person" | "none";
  /** A list with `limit` and `after`: how many items a page may have. */
  paging?: number;
  query?: z.ZodObject;
  /** The schema of a JSON body. */
  body?: z.ZodType;
  /** A body that works as it is. */
  example?: unknown;
  /** The fields of a multipart form. Its handler limits what it reads itself. */
  form?: () => z.ZodObject;
  /** With status 200 as JSON, unless told by status. */
  response: Shape | Record<number, Answer>;
  /** Beside those that every route of its kind can meet. */
  errors?: ErrorCode[];
  /** Changes with If-Match. */
  ifMatch?: boolean;
  /** "in_sql": its own SQL function records the request, in the transaction that does the work. */
  idempotency?: "in_sql";
  handler: (c: ApiContext) => Response | Promise<Response>;
}

export const defineRoute = (route: Route): Route => route;
