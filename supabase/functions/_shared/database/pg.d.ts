/**
 * Types of the part of node-postgres that is used here. `@types/pg` would pull in all of Node.js's types, which conflict
 * with Deno's.
 */
export interface ClientOptions {
  connectionString: string;
  connectionTimeoutMillis: number;
  /** Sends the next query without waiting for the previous response. */
  pipeline: boolean;
  types: { getTypeParser(): (text: string) => unknown };
}

declare class Client {
  constructor(options: ClientOptions);
  connect(): Promise<void>;
  query(query: {
    text: string;
    values: unknown[];
    rowMode: "array";
  }): Promise<{ rows: (string | null)[][] }>;
  /** `error`: the connection broke. `end`: it is closed. */
  on(event: "error" | "end", listener: () => void): this;
  end(): Promise<void>;
}

/** What the server sends instead of rows. */
declare class DatabaseError extends Error {
  code: string | undefined;
  detail: string | undefined;
  constraint: string | undefined;
  where: string | undefined;
}

declare const pg: { Client: typeof Client; DatabaseError: typeof DatabaseError };
export default pg;
export type { Client };
