/**
 * The part of node-postgres that is used here. `@types/pg` would bring the types of a whole Node.js with it, which are
 * others than those of Deno.
 */
export interface ClientOptions {
  connectionString: string;
  connectionTimeoutMillis: number;
  /** Sends the next query without waiting for the last one's answer. */
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

/** What the server answers instead of rows. */
declare class DatabaseError extends Error {
  code: string | undefined;
  detail: string | undefined;
  constraint: string | undefined;
  where: string | undefined;
}

declare const pg: { Client: typeof Client; DatabaseError: typeof DatabaseError };
export default pg;
export type { Client };
