/** Request and response types by operation, from the OpenAPI document. */
import type { operations } from "../../client/api.d.ts";

/** The JSON request body: `BodyOf<"createJob">`. */
export type BodyOf<Name extends keyof operations> = operations[Name] extends
  { requestBody: { content: { "application/json": infer Body } } } ? Body
  : never;

/** The JSON response of a 200. */
export type ResponseOf<Name extends keyof operations> = operations[Name] extends
  { responses: { 200: { content: { "application/json": infer Body } } } } ? Body
  : never;
