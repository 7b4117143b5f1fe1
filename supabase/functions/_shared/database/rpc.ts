/**
 * Calls SQL functions with named arguments. Arguments and results are checked at compile time against the database's
 * catalog (`functions.ts` is generated from it), and results again at run time.
 */
import type * as z from "zod";
import type { Database } from "./connect.ts";
import { failure } from "./failure.ts";
import { functions, schema as functionSchema } from "./functions.ts";

/** The argument type for each SQL type. null is passed as SQL null. */
interface ArgumentTypes {
  "uuid": string;
  "text": string;
  "date": string;
  "timestamp with time zone": string;
  "boolean": boolean;
  "integer": number;
  "bigint": number;
  "double precision": number;
  "jsonb": object | string | number | boolean;
  "uuid[]": readonly string[];
}

/** The result type for each SQL type. A jsonb has the type of its schema. */
interface ResultTypes {
  "void": null;
  "uuid": string;
  "text": string;
  "boolean": boolean;
  "integer": number;
  "bigint": number;
  "json": unknown;
  "jsonb": unknown;
}

export interface Signature {
  args: Record<string, keyof ArgumentTypes>;
  /** Arguments with a default in SQL. */
  optional: Record<string, keyof ArgumentTypes>;
  result: keyof ResultTypes;
}

type Values<A extends Record<string, keyof ArgumentTypes>> = { [K in keyof A]: ArgumentTypes[A[K]] | null };
type Functions = typeof functions;
type Named<N extends keyof Functions> =
  & Values<Functions[N]["args"]>
  & Partial<Values<Functions[N]["optional"]>>;
type WithResult<R> = {
  [N in keyof Functions]: Functions[N]["result"] extends R ? N : never;
}[keyof Functions];
type JsonFunction = WithResult<"json" | "jsonb">;
type ScalarFunction = Exclude<keyof Functions, JsonFunction>;

/**
 * Calls `<name>(…)` in one round trip and returns its value. A jsonb is parsed by `result`, which strips undeclared fields.
 * Throws an ApiError if SQL raises one (SQLSTATE TB000), `database_unavailable` if the database does not respond, and a
 * DatabaseError otherwise.
 */
export function rpc<N extends ScalarFunction>(
  db: Database,
  name: N,
  args: Named<N>,
): Promise<ResultTypes[Functions[N]["result"]]>;
export function rpc<N extends JsonFunction, T>(
  db: Database,
  name: N,
  args: Named<N>,
  result: z.ZodType<T>,
): Promise<T>;
export async function rpc(
  db: Database,
  name: keyof Functions,
  args: Record<string, unknown>,
  result?: z.ZodType,
): Promise<unknown> {
  const value = await invoke(db, name, functions[name], args);
  if (result === undefined) return value;
  const parsed = result.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new Error(
    `${functionSchema}.${name} returned an unexpected result: ${issue?.path.join(".")}: ${issue?.message}`,
  );
}

/** {@link rpc} for functions that are not in `functions.ts`. */
export async function invoke(
  db: Database,
  name: string,
  signature: Signature,
  args: Record<string, unknown>,
): Promise<unknown> {
  const named: string[] = [];
  const values: Parameter[] = [];
  for (const [argument, type] of Object.entries({ ...signature.args, ...signature.optional })) {
    const value = args[argument];
    if (value === undefined) continue;
    named.push(`p_${argument} => $${values.length + 1}::${type}`);
    values.push(parameter(type, value));
  }
  let text: string | null | undefined;
  try {
    text = await db.value(`select ${functionSchema}.${name}(${named.join(", ")})`, values);
  } catch (error) {
    throw failure(`${functionSchema}.${name}`, error);
  }
  return decode(name, signature.result, text);
}

type Parameter = string | number | boolean | null | readonly string[];

/** Converts a value for the driver. The driver turns arrays into SQL arrays, so jsonb must be serialized first. */
function parameter(type: keyof ArgumentTypes, value: unknown): Parameter {
  if (value === null) return null;
  if (type === "jsonb") return JSON.stringify(value);
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") return value;
  if (Array.isArray(value)) return value.map(String);
  throw new Error(`a ${type} cannot be a ${typeof value}`);
}

/** Parses a result's text according to its declared type. */
function decode(name: string, type: keyof ResultTypes, text: string | null | undefined): unknown {
  if (type === "void") return null;
  const isJson = type === "json" || type === "jsonb";
  if (text === null && isJson) return null;
  if (text === null || text === undefined) throw new Error(`${functionSchema}.${name} returned no ${type}`);
  if (isJson) return JSON.parse(text);
  if (type === "text" || type === "uuid") return text;
  if (type === "boolean" && (text === "t" || text === "f")) return text === "t";
  const number = Number(text);
  if (type === "boolean" || !Number.isSafeInteger(number)) {
    throw new Error(`${functionSchema}.${name} did not return a ${type}`);
  }
  return number;
}
