/** Request validation with zod. Errors name the field, its value and what to do. */
import type { HonoRequest } from "hono";
import * as z from "zod";
import type { ErrorCode } from "./contracts/error_codes.ts";
import { ApiError, maxProblems, type Problem } from "./errors.ts";
import { rejectUnstorableText } from "./text.ts";

/** `z.strictObject` whose error for an unknown field lists the allowed ones. */
export function strictObject<S extends z.core.$ZodLooseShape>(shape: S) {
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === "unrecognized_keys"
        ? `unknown field. Allowed fields: ${Object.keys(shape).join(", ")}`
        : undefined,
  });
}

/** Parses `input`. Throws an ApiError with the first problems and their number. */
export function parseOrThrow<T>(
  schema: z.ZodType<T>,
  input: unknown,
  code: ErrorCode = "invalid_request",
): T {
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  const problems: Problem[] = [];
  let count = 0;
  for (const issue of result.error.issues) {
    count += issue.code === "unrecognized_keys" ? issue.keys.length : 1;
    if (problems.length < maxProblems) problems.push(...describe(issue, input));
  }
  throw new ApiError(code, problems, { count });
}

/** Reads a JSON body. An empty body is `{}`: the SDKs send POST requests without a body as JSON too. */
export async function jsonBody(request: HonoRequest): Promise<unknown> {
  const text = await request.text();
  if (text.trim() === "") return {};
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new ApiError("invalid_json", [{
      param: null,
      message: `The body is not valid JSON: ${cause instanceof Error ? cause.message.slice(0, 300) : cause}`,
    }]);
  }
  rejectUnstorableText(json);
  return json;
}

function describe(issue: z.core.$ZodIssue, input: unknown): Problem[] {
  if (issue.code === "unrecognized_keys") {
    return issue.keys.slice(0, maxProblems).map((key) => {
      const path = [...issue.path, key];
      return problem(path, valueAt(input, path), issue.message);
    });
  }
  const value = valueAt(input, issue.path);
  return [problem(issue.path, value, value === undefined ? "is required" : sentence(issue))];
}

function problem(path: PropertyKey[], value: unknown, message: string): Problem {
  const param = shortText(path.map(String).join(".")) || null;
  const shown = value === undefined ? "" : ` = ${short(value)}`;
  return {
    param,
    message: `${param ?? "The body"}${shown}: ${message}`,
    ...(value === undefined ? {} : { value: clip(value) }),
  };
}

const must = "must be ";
const typeNames: Partial<Record<string, string>> = {
  string: "a string",
  number: "a number",
  int: "an integer",
  boolean: "true or false",
  array: "an array",
  object: "an object",
  record: "an object",
};

function sentence(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case "too_small":
      return issue.origin === "number" || issue.origin === "int"
        ? `must be ${issue.inclusive === false ? "greater than" : "at least"} ${issue.minimum}`
        : `is too short; the minimum is ${issue.minimum}`;
    case "too_big":
      return issue.origin === "number" || issue.origin === "int"
        ? `must be at most ${issue.maximum}`
        : `is too long; the maximum is ${issue.maximum}`;
    case "invalid_value":
      return `must be ${issue.values.map((value) => JSON.stringify(value)).join(" or ")}`;
    case "invalid_type":
      return `must be ${typeNames[issue.expected] ?? `of type ${issue.expected}`}`;
    case "invalid_union": {
      const options = [...new Set(issue.errors.flatMap((errors) => errors.map(sentence)))];
      if (options.length === 0) return issue.message;
      return options.every((option) => option.startsWith(must))
        ? must + options.map((option) => option.slice(must.length)).join(" or ")
        : options.join(", or ");
    }
    default:
      return issue.message;
  }
}

function valueAt(input: unknown, path: PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (value, key) => value !== null && typeof value === "object" ? Reflect.get(value, key) : undefined,
    input,
  );
}

/** Keys are chosen by the client and can be a megabyte long. */
const shortText = (text: string) => text.length > 200 ? `${text.slice(0, 197).toWellFormed()}…` : text;
const clip = (value: unknown) => (JSON.stringify(value) ?? "").length > 200 ? undefined : value;
const short = (value: unknown) => {
  // A number such as 1e400 is parsed as Infinity, for which JSON has no notation.
  const text = typeof value === "number" ? String(value) : JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77).toWellFormed()}…` : text;
};
