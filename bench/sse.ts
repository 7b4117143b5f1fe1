/**
 * 1,000 event streams of 100 jobs through one process of the API: the delay from a worker's report to its event in every
 * stream, and the number of database connections.
 */
import { startFunction } from "../local/emulators/functions/mod.ts";
import { join } from "../local/paths.ts";
import { maxStreams } from "../supabase/functions/tunebase/routes/jobs/events.ts";
import { sha256Hex } from "../supabase/functions/_shared/secrets.ts";
import { FakeWorker } from "../tests/support/fake_worker.ts";
import { holdAttempts } from "./attempts.ts";
import { percentile, type RawMeasurement, type Size } from "./results.ts";
import { type BenchStack, startBenchStack, until } from "./harness.ts";

const sizes = {
  // `idleSeconds` is longer than the 20 s after which the pool closes idle connections. Including opening and waiting, the
  // measurement is shorter than the lifetime of a stream (60 s), so that no stream has to reconnect.
  full: { jobs: 100, streams: 1000, idleSeconds: 25, seconds: 15 },
  short: { jobs: 4, streams: 8, idleSeconds: 0, seconds: 0.5 },
};
const reportsPerSecond = 10;
const limitMs = 1000;
const mostConnections = 2;

export async function sse(log: (line: string) => void, size: Size): Promise<RawMeasurement[]> {
  const { jobs, streams, idleSeconds, seconds } = sizes[size];
  const bench = await startBenchStack({ cronSeconds: 3600 });
  try {
    const held = await holdAttempts(bench, jobs);
    const ids = await jobIds(bench);
    const keys = await createKeys(bench, Math.ceil(streams / maxStreams));
    const workers = held.map(({ id, workerId, fence }) => {
      const worker = new FakeWorker(bench.stack, id, workerId);
      worker.fence = fence;
      return worker;
    });
    const { functionEnv, home } = bench.stack;
    const [{ now: before } = { now: new Date() }] = await bench.stack.sql<{ now: Date }[]>`select now()`;
    const edge = await startFunction("tunebase", functionEnv, join(home, "logs/bench-api.log"));
    const listeners: Listener[] = [];
    try {
      for (let n = 0; n < streams; n++) {
        const job = ids.get(held[n % jobs]?.id ?? "") ?? "";
        listeners.push(await Listener.open(edge.port, job, keys[n % keys.length] ?? ""));
      }
      await until("every stream to be open", 30, () => listeners.every(({ isOpen }) => isOpen));
      await new Promise((resolve) => setTimeout(resolve, idleSeconds * 1000));
      let sent = 0;
      let connections = 0;
      const begin = performance.now();
      while (performance.now() - begin < seconds * 1000) {
        const worker = workers[sent % jobs];
        await worker?.report({ events: [{ level: "info", message: `bench ${performance.now()}` }] });
        sent += 1;
        connections = Math.max(connections, await open(bench, before));
        await new Promise((resolve) =>
          setTimeout(resolve, Math.max(0, begin + sent * 1000 / reportsPerSecond - performance.now()))
        );
      }
      const expected = sent * streams / jobs;
      await until(
        "the last line",
        10,
        () => listeners.reduce((sum, { ms }) => sum + ms.length, 0) >= expected,
      );
      const all = listeners.flatMap(({ ms }) => ms);
      if (all.length !== expected) throw new Error(`${all.length} lines arrived, expected ${expected}`);
      const p99 = percentile(all, 0.99);
      log(
        `${sent} reports, ${all.length} lines; p50 ${
          percentile(all, 0.5).toFixed(0)
        } ms; ${connections} connections`,
      );
      return [{
        value: p99,
        unit: `ms p99 from a worker's report to its line in ${streams} streams`,
        against: `the limit, ${limitMs} ms`,
        ratio: limitMs / p99,
        goal: 1,
      }, {
        value: connections,
        unit: `connections to the database for ${streams} streams`,
        against: `the limit, ${mostConnections}`,
        ratio: mostConnections / connections,
        goal: 1,
      }];
    } finally {
      for (const listener of listeners) listener.close();
      await edge.stop();
    }
  } finally {
    await bench.close();
  }
}

/** Maps attempt ids to public job ids. */
async function jobIds({ stack: { sql } }: BenchStack): Promise<Map<string, string>> {
  const rows = await sql<{ id: string; job_id: string }[]>`select id, job_id from tunebase.attempts`;
  return new Map(rows.map(({ id, job_id }) => [id, `ftjob-${job_id.replaceAll("-", "")}`]));
}

/** Creates API keys of the one project. */
async function createKeys({ stack: { sql } }: BenchStack, count: number): Promise<string[]> {
  const keys = Array.from({ length: count }, () => `tb_${crypto.randomUUID()}`);
  for (const key of keys) {
    await sql`
      select tunebase_internal.insert_api_key(id, '{"name": "bench", "scopes": ["jobs:read"], "hint": "tb_"}',
        decode(${sha256Hex(key)}, 'hex'))
      from tunebase.projects`;
  }
  return keys;
}

/** API connections opened after `before`: those of this process, not the stack's. */
async function open({ stack: { sql } }: BenchStack, before: Date): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    select count(*)::integer as count from pg_stat_activity
    where usename = 'tunebase_api' and backend_start > ${before}`;
  return row?.count ?? NaN;
}

/** One stream over a bare socket: a thousand fetches would use up the measured cores. */
class Listener {
  isOpen = false;
  readonly ms: number[] = [];
  #rest = "";

  private constructor(private readonly connection: Deno.TcpConn) {}

  static async open(port: number, job: string, key: string): Promise<Listener> {
    const connection = await Deno.connect({ hostname: "127.0.0.1", port });
    const listener = new Listener(connection);
    await connection.write(new TextEncoder().encode(
      `GET /tunebase/fine_tuning/jobs/${job}/events HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\n` +
        `authorization: Bearer ${key}\r\n\r\n`,
    ));
    void listener.#read();
    return listener;
  }

  async #read(): Promise<void> {
    const buffer = new Uint8Array(65_536);
    const text = new TextDecoder();
    for (;;) {
      const count = await this.connection.read(buffer).catch(() => null); // closed by us
      if (count === null) return;
      const now = performance.now();
      this.#rest += text.decode(buffer.subarray(0, count), { stream: true });
      this.isOpen ||= this.#rest.startsWith("HTTP/1.1 200");
      if (!this.isOpen) throw new Error(`a stream was rejected: ${this.#rest.slice(0, 500)}`);
      const lines = this.#rest.split("\n");
      this.#rest = lines.pop() ?? "";
      for (const line of lines) {
        const sent = /"message":"bench ([\d.]+)"/.exec(line)?.[1];
        if (sent !== undefined) this.ms.push(now - Number(sent));
      }
    }
  }

  close(): void {
    this.connection.close();
  }
}
