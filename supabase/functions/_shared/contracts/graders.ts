/** How `POST /evaluations` grades answers. Exact match and JSON are always scored; these are added on request. */
import * as z from "zod";
import { maxPatternLength } from "./patterns.ts";

export const maxGraders = 10;

export const Grader = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("contains"),
    value: z.string().min(1).max(maxPatternLength).describe("The text that a correct answer contains"),
    ignore_case: z.boolean().default(false),
  }),
  z.strictObject({
    type: z.literal("regex"),
    pattern: z.string().min(1).max(maxPatternLength).describe(
      "An RE2 regular expression that matches anywhere in a correct answer; anchor it with ^ and $",
    ),
    ignore_case: z.boolean().default(false),
  }),
]).meta({ id: "EvaluationGrader" });
export type Grader = z.infer<typeof Grader>;
