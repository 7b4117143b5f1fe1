/**
 * Workers that send as fast as they get responses, over keep-alive HTTP/1.1 connections. They share the measured cores,
 * unlike real workers; hence bare sockets (fetch used eight times the CPU), and calls signed before a round begins.
 */
import { Buffer } from "node:buffer";
import { createHmac } from "node:crypto";
import { type Held, report } from "./attempts.ts";

const bytes = new TextEncoder();

/** An attempt's worker, reused across rounds. */
export interface Worker {
  held: Held;
  /** The sequence of its last call. */
  sequence: number;
}

/** Calls per second to sign in advance, for all workers together; beyond that, a worker signs each call. */
const mostPerSecond = 2500;

/**
 * Reports for `seconds`, one call at a time per worker. Returns the callbacks per second, each answered 200 with the directive
 * to continue: verified and committed. Anything else throws.
 */
export async function sendReports(
  port: number,
  path: string,
  workers: Worker[],
  seconds: number,
): Promise<number> {
  const each = Math.ceil(mostPerSecond * seconds / workers.length);
  const ready = workers.map(({ held, sequence }) =>
    Array.from({ length: each }, (_, n) => signedReport(path, held, sequence + 1 + n))
  );
  const begin = performance.now();
  const end = begin + seconds * 1000;
  const counts = await Promise.all(workers.map(async (worker, place) => {
    using connection = await Deno.connect({ hostname: "127.0.0.1", port });
    connection.setNoDelay();
    const answers = new Answers(connection);
    let count = 0;
    while (performance.now() < end) {
      worker.sequence += 1;
      await writeAll(connection, ready[place]?.[count] ?? signedReport(path, worker.held, worker.sequence));
      const { status, body } = await answers.next();
      const answer = body();
      if (status !== 200 || !answer.includes('"directive":"continue"')) {
        throw new Error(`a report was answered ${status} ${answer}`);
      }
      count += 1;
    }
    return count;
  }));
  return counts.reduce((sum, count) => sum + count, 0) / ((performance.now() - begin) / 1000);
}

/** Writes all bytes. */
export async function writeAll(connection: Deno.Conn, data: Uint8Array): Promise<void> {
  for (let sent = 0; sent < data.length;) sent += await connection.write(data.subarray(sent));
}

/** The bytes of one call, signed according to Standard Webhooks. */
function signedReport(path: string, held: Held, sequence: number): Uint8Array {
  const body = JSON.stringify(report(held, sequence));
  const id = crypto.randomUUID();
  const timestamp = Math.floor(Date.now() / 1000);
  const signature = createHmac("sha256", held.key).update(`${id}.${timestamp}.${body}`).digest("base64");
  return bytes.encode(
    `POST ${path}/attempts/${held.id}/report HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n` +
      `content-length: ${body.length}\r\nwebhook-id: ${id}\r\nwebhook-timestamp: ${timestamp}\r\n` +
      `webhook-signature: v1,${signature}\r\n\r\n${body}`,
  );
}

/** Reads responses with a Content-Length, which counts bytes, as all JSON responses of the functions have. */
export class Answers {
  readonly #buffer = Buffer.alloc(65_536);
  #filled = 0;

  constructor(private readonly connection: Deno.Conn) {}

  /** The next response. `body` decodes its body, at most until the next call: one that is not read costs nothing. */
  async next(): Promise<{ status: number; body: () => string }> {
    for (;;) {
      const seen = this.#buffer.subarray(0, this.#filled);
      const start = seen.indexOf("\r\n\r\n") + 4;
      if (start >= 4) {
        const head = seen.toString("latin1", 0, start);
        const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? NaN);
        if (Number.isNaN(length)) throw new Error(`an answer without content-length:\n${head}`);
        if (seen.length >= start + length) {
          this.#filled = 0; // one call at a time: no bytes of the next response
          return { status: Number(head.slice(9, 12)), body: () => seen.toString("utf8", start) };
        }
      }
      const read = await this.connection.read(this.#buffer.subarray(this.#filled));
      if (read === null) throw new Error("the function closed the connection");
      this.#filled += read;
    }
  }
}
