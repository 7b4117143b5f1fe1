/** The Management API's errors: `{"message": …}`. Texts are invented if the published description has none. */
import type * as z from "zod";

type Status = 400 | 401 | 402 | 403 | 404 | 429 | 500 | 503;

/** Thrown anywhere in this folder; `mod.ts` renders it. */
export class ApiError extends Error {
  constructor(readonly status: Status, message: string, readonly headers: Record<string, string> = {}) {
    super(message);
  }
}

/** The value, or a 400 that names each field. */
export function checked<T>(schema: z.ZodType<T>, value: unknown): T {
  const found = schema.safeParse(value);
  if (found.success) return found.data;
  const problems = found.error.issues.map(({ path, message }) =>
    path.length === 0 ? message : `${path.join(".")}: ${message}`
  );
  throw new ApiError(400, problems.join(", "));
}
