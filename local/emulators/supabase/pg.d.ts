/** The part of node-postgres that the emulator uses; see supabase/functions/_shared/database/pg.d.ts. */
export interface ClientOptions {
  connectionString: string;
  connectionTimeoutMillis: number;
  types: { getTypeParser(oid: number, format?: "text" | "binary"): (text: string) => unknown };
}

export interface Result {
  rows: unknown[];
}

declare class Client {
  constructor(options: ClientOptions);
  connect(): Promise<void>;
  /** Several statements return an array of results. */
  query(text: string, values?: unknown[]): Promise<Result | Result[]>;
  on(event: "error", listener: () => void): this;
  end(): Promise<void>;
}

declare class DatabaseError extends Error {
  code: string | undefined;
  detail: string | undefined;
  hint: string | undefined;
}

declare const pg: {
  Client: typeof Client;
  DatabaseError: typeof DatabaseError;
  types: { getTypeParser(oid: number, format?: "text" | "binary"): (text: string) => unknown };
};
export default pg;
