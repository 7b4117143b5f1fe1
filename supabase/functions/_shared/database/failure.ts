/** What a call of SQL throws. Postgres's own message and detail can hold a request's values: they go nowhere. */
// @ts-types="./pg.d.ts"
import pg from "pg";
import { ApiError } from "../errors.ts";

/** An error of the database that is a fault of ours: its SQLSTATE says which kind, its constraint and our functions where. */
export class DatabaseError extends Error {
  override name = "DatabaseError";
  constructor(
    readonly call: string,
    readonly sqlstate: string,
    readonly constraint: string | null,
    /** PL/pgSQL's call stack, of which only our functions' names and lines are kept. */
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
 * SQLSTATEs after which the same call may succeed: a lost connection (08), insufficient resources (53), a server that shuts
 * down or starts (57P), a cancelled statement, and the victim of a deadlock or serialization failure.
 */
const unavailable = /^(08|53|57P)|^(57014|40001|40P01)$/;

/** What became of a call, as an error to throw: an ApiError where the client can understand it. */
export function failure(call: string, error: unknown): Error {
  if (error instanceof pg.DatabaseError) {
    const sqlstate = error.code ?? "";
    if (sqlstate === "TB000") {
      const refusal = ApiError.fromSql(error.message, details(error.detail));
      if (refusal !== null) return refusal;
    }
    const cause = new DatabaseError(call, sqlstate, error.constraint ?? null, error.where);
    return unavailable.test(sqlstate) ? ApiError.of("database_unavailable", {}, { cause }) : cause;
  }
  // The driver's own errors are of connections: refused, cut, too slow. They hold addresses, never values.
  return ApiError.of("database_unavailable", {}, { cause: error });
}

function details(text: string | undefined): Record<string, unknown> {
  const found: unknown = JSON.parse(text ?? "{}");
  return found !== null && typeof found === "object" ? { ...found } : {};
}
