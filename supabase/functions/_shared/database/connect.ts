/**
 * Postgres connections: a few per isolate, with bound parameters in one round trip.
 *
 * The driver is node-postgres in pipeline mode. It sends parse, bind and execute of an unnamed statement together, as
 * transaction poolers require, and sends the next call on a connection before the previous response has arrived.
 * Throughput of one jsonb function with 16 callers over 4 connections, alternating within one run on a busy machine with
 * 2 cores, relative to postgres.js with literals in the query text (1.00):
 *
 * | | same host | 4 ms away |
 * | --- | --- | --- |
 * | postgres.js, bound parameters (it first asks the server for their types) | 0.52 | 0.23 |
 * | node-postgres with its pool, one call at a time per connection | 0.77 | 0.43 |
 * | node-postgres, pipelined | 0.95 | 1.33 |
 *
 * With one caller on one connection, all but the first perform alike. Bundled and minified, the driver is 86 kB,
 * postgres.js 38. It is loaded with the first connection: together with its Node modules, it took a quarter of the time
 * from boot to the first response.
 */
// @ts-types="./pg.d.ts"
import type { Client } from "pg";

/** Per isolate. Low, because many isolates run at once. */
const maxConnections = 4;
const idleMs = 20_000;
const connectMs = 10_000;

interface Connection {
  client: Promise<Client>;
  /** Calls without a response yet. */
  pending: number;
  idle: ReturnType<typeof setTimeout> | undefined;
}

/** A database connection pool of one role. */
export interface Database {
  /** Executes a statement. Returns the first column of the first row, as text. */
  value(text: string, parameters: unknown[]): Promise<string | null | undefined>;
  /** Waits for running calls and closes all connections. */
  close(): Promise<void>;
}

class Pool implements Database {
  readonly #connections = new Set<Connection>();

  constructor(private readonly url: string) {}

  async value(text: string, parameters: unknown[]): Promise<string | null | undefined> {
    const connection = this.#pick();
    clearTimeout(connection.idle);
    connection.pending += 1;
    try {
      const client = await connection.client;
      const { rows } = await client.query({ text, values: parameters, rowMode: "array" });
      return rows[0]?.[0];
    } finally {
      connection.pending -= 1;
      if (connection.pending === 0 && this.#connections.has(connection)) {
        connection.idle = setTimeout(() => this.#close(connection), idleMs);
        Deno.unrefTimer(connection.idle);
      }
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#connections].map((connection) => this.#close(connection)));
  }

  /** An idle connection; otherwise a new one, up to the maximum; otherwise the one with the fewest pending calls. */
  #pick(): Connection {
    let least: Connection | undefined;
    for (const one of this.#connections) {
      if (least === undefined || one.pending < least.pending) least = one;
    }
    if (least === undefined || least.pending > 0 && this.#connections.size < maxConnections) {
      return this.#open();
    }
    return least;
  }

  #open(): Connection {
    // A broken connection is never used again: the next call opens another. Its pending calls fail by themselves.
    const forget = () => {
      clearTimeout(connection.idle);
      this.#connections.delete(connection);
    };
    const connection: Connection = { client: this.#client(forget), pending: 0, idle: undefined };
    this.#connections.add(connection);
    connection.client.catch(forget);
    return connection;
  }

  async #client(forget: () => void): Promise<Client> {
    const { Client } = await import("./driver.ts");
    const client = new Client({
      connectionString: this.url,
      connectionTimeoutMillis: connectMs,
      pipeline: true,
      // Values stay text: `rpc` parses them according to the function's declared result.
      types: { getTypeParser: () => (text: string) => text },
    });
    // Without a listener, an error on an idle connection would end the process.
    client.on("error", forget);
    client.on("end", forget);
    await client.connect();
    return client;
  }

  async #close(connection: Connection): Promise<void> {
    clearTimeout(connection.idle);
    this.#connections.delete(connection);
    const client = await connection.client.catch(() => null); // it never connected
    await client?.end();
  }
}

/** Connects lazily. On the platform, `url` points to the transaction pooler. */
export function connect(url: string): Database {
  return new Pool(libpqTls(url));
}

/**
 * node-postgres treats `sslmode=require` as `verify-full`, and the pooler's certificate is signed by the platform's own
 * CA. In libpq, `require` encrypts without verifying.
 */
function libpqTls(url: string): string {
  const address = new URL(url);
  if (address.searchParams.has("sslmode")) address.searchParams.set("uselibpqcompat", "true");
  return address.href;
}
