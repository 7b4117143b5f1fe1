/** What operations take, by their names in the API's document. */
import type { operations } from "../client/api.d.ts";

/** The JSON body of an operation: `BodyOf<"createJob">`. */
export type BodyOf<Name extends keyof operations> = operations[Name] extends
  { requestBody: { content: { "application/json": infer Body } } } ? Body
  : never;

/** The JSON answer of an operation. */
export type AnswerOf<Name extends keyof operations> = operations[Name] extends
  { responses: { 200: { content: { "application/json": infer Answer } } } } ? Answer
  : never;
