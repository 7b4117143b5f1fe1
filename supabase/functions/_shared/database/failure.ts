/** Errors of SQL calls. Postgres's message and detail can hold values of the request, so they are never logged. */
// @ts-types="./pg.d.ts"
import pg from "pg";
import { ApiError } from "../errors.ts";

/** A bug of ours: the SQLSTATE, the constraint, and which of our functions raised it. */
export class DatabaseError extends Error {
  override name = "DatabaseError";
  constructor(
    readonly call: string,
    readonly sqlstate: string,
    readonly constraint: string | null,
    /** PL/pgSQL's call stack. Only the names and line numbers of functions are kept. */
    where: string | undefined,
  ) {
    const lines = (where ?? "").matchAll(/PL\/pgSQL function ([\w.]+)\([^)]*\) line (\d+)/g);
    const functions = Array.from(lines, ([, name, line]) => `${name}:${line}`).slice(0, 4);
    super(
      [
        `${call}: SQLSTATE ${sqlstate}`,
        ...(constraint === null ? [] : [`constraint ${constraint}`]),
        ...(functions.length === 0 ? [] : [`in ${functions.join(" < ")}`]),
      ].join(", "),
    );
  }
}

/**
 * Retryable SQLSTATEs: lost connection (08), insufficient resources (53), server starting or shutting down (57P), cancelled
 * statement, deadlock, serialization failure.
 */
const unavailable = /^(08|53|57P)|^(57014|40001|40P01)$/;

/** Converts a driver error to the error to throw: an ApiError if the client can act on it. */
export function failure(call: string, error: unknown): Error {
  if (error instanceof pg.DatabaseError) {
    const sqlstate = error.code ?? "";
    if (sqlstate === "TB000") {
      const apiError = ApiError.fromSql(error.message, details(error.detail));
      if (apiError !== null) return apiError;
    }
    const cause = new DatabaseError(call, sqlstate, error.constraint ?? null, error.where);
    return unavailable.test(sqlstate) ? ApiError.of("database_unavailable", {}, { cause }) : cause;
  }
  // All other driver errors concern the connection. They can hold addresses, never values.
  return ApiError.of("database_unavailable", {}, { cause: error });
}

function details(text: string | undefined): Record<string, unknown> {
  const found: unknown = JSON.parse(text ?? "{}");
  return found !== null && typeof found === "object" ? { ...found } : {};
}
