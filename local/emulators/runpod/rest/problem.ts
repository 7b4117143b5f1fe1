/** RunPod's errors (RFC 9457), following its published API description. */
import * as z from "zod";

const titles: Record<number, string> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  422: "Unprocessable Entity",
};

/** Thrown by handlers and rendered by {@link problem}. */
export class Problem extends Error {
  constructor(
    readonly status: 400 | 401 | 403 | 404 | 405 | 422,
    detail: string,
    readonly errors?: string[],
  ) {
    super(detail);
  }
}

/** The response for an error. */
export function problem({ status, message, errors }: Problem): Response {
  return new Response(
    JSON.stringify({
      title: titles[status],
      status,
      detail: message,
      ...(errors === undefined ? {} : { errors }),
    }),
    { status, headers: { "content-type": "application/problem+json" } },
  );
}

/** Validates a request. Throws 422 with one line per violation, or 400 for invalid JSON. */
export async function read<T>(request: Request, schema: z.ZodType<T>): Promise<T> {
  let body: unknown;
  try {
    body = JSON.parse(await request.text());
  } catch {
    throw new Problem(400, "the request body is not valid JSON");
  }
  const checked = schema.safeParse(body);
  if (checked.success) return checked.data;
  throw new Problem(
    422,
    "Request validation failed.",
    checked.error.issues.flatMap((issue) => {
      const path = ["$", ...issue.path].join(".");
      return issue.code === "unrecognized_keys"
        ? issue.keys.map((key) => `${path}: additional properties '${key}' not allowed`)
        : [`${path}: ${issue.message}`];
    }),
  );
}
