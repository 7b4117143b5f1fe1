/** Health, deletions and errors. */
import * as z from "zod";
import { word } from "./fields.ts";

export const Health = z.object({
  status: z.enum(["ok", "degraded"]),
  database: z.enum(["ok", "unreachable"]),
  storage: z.enum(["ok", "unreachable"]),
}).meta({ id: "Health" });

/** The response of a DELETE. */
export const Deleted = z.object({ id: z.string(), object: z.string(), deleted: z.literal(true) })
  .meta({ id: "Deleted" });

export const Problem = z.object({
  type: z.string().meta({ examples: ["urn:tunebase:error:invalid_request"] }),
  title: z.string(),
  status: z.int(),
  detail: z.string(),
  request_id: z.string(),
  errors: z.array(z.object({
    param: z.string().nullable(),
    message: z.string(),
    value: z.unknown().optional(),
    line: z.int().optional().describe("The line of the file, starting at 1"),
  })).optional(),
  problem_count: z.int().optional().describe(
    "The total number of problems, if `errors` lists only the first ones",
  ),
  error: z.object({
    message: z.string(),
    type: word(
      "invalid_request_error",
      "authentication_error",
      "permission_error",
      "not_found_error",
      "rate_limit_error",
      "server_error",
    ),
    param: z.string().nullable(),
    code: z.string(),
  }).describe("Read by OpenAI's SDKs"),
}).meta({ id: "Problem" });
