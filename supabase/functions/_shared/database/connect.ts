/**
 * The way to Postgres: a few connections for each function, and bound parameters in one round trip.
 *
 * The driver is node-postgres in pipeline mode. It sends parse, bind and execute together in the unnamed statement, which
 * a transaction pooler wants, and does not wait for one call's answer before it sends the next on the same connection.
 * Measured with one jsonb function called by 16 callers over 4 connections, in turns in one run on a busy machine of
 * 2 cores, against postgres.js with every value as a literal in the query's text (1.00):
 *
 * | | beside the database | 4 ms away |
 * | --- | --- | --- |
 * | postgres.js, bound parameters (it first asks the server for their types) | 0.52 | 0.23 |
 * | node-postgres and its pool, one call at a time for each connection | 0.77 | 0.43 |
 * | node-postgres, pipelined | 0.95 | 1.33 |
 *
 * With one caller on one connection all but the first are alike, near and far. Bundled and minified the driver weighs 86
 * kB against postgres.js's 38. It is loaded with the first connection: with what it needs of Node it was a quarter of the time
 * from a process's start to its first answer.
 */
// @ts-types="./pg.d.ts"
import type { Client } from "pg";

/** As many isolates run at once, each has few. */
const maxConnections = 4;
const idleMs = 20_000;
const connectMs = 10_000;

interface Connection {
  client: Promise<Client>;
  /** Calls whose answers are still to come. */
  pending: number;
  idle: ReturnType<typeof setTimeout> | undefined;
}

/** A database as one role sees it. */
export interface Database {
  /** Sends one statement with its parameters; returns the first column of its first row, as text. */
  value(text: string, parameters: unknown[]): Promise<string | null | undefined>;
  /** Waits for what is under way, and closes every connection. */
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

  /** One that is free; else another while there may be one; else the one with the fewest calls before this. */
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
    // A connection that breaks is never used again: the next call opens another. Its calls fail by themselves.
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
      // Each value stays the text that the server sent: `rpc` reads it as the function's declared result.
      types: { getTypeParser: () => (text: string) => text },
    });
    // Without a listener an idle connection's error would end the process.
    client.on("error", forget);
    client.on("end", forget);
    await client.connect();
    return client;
  }

  async #close(connection: Connection): Promise<void> {
    clearTimeout(connection.idle);
    this.#connections.delete(connection);
    const client = await connection.client.catch(() => null); // it never came to be
    await client?.end();
  }
}

/** Connects lazily. On the platform `url` is the transaction pooler's. */
export function connect(url: string): Database {
  return new Pool(libpqTls(url));
}

/**
 * node-postgres reads `sslmode=require` as `verify-full`, and the pooler's certificate is signed by the platform's own
 * authority; libpq and every other tool encrypt with `require` and check nothing.
 */
function libpqTls(url: string): string {
  const address = new URL(url);
  if (address.searchParams.has("sslmode")) address.searchParams.set("uselibpqcompat", "true");
  return address.href;
}
