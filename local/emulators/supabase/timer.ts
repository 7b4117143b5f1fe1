/**
 * The background workers of pg_cron and pg_net: runs due jobs and sends queued requests while the database has
 * the extensions. Differs: it polls, four times per second.
 */
import postgres from "postgres";
import { pause } from "../../stack/processes.ts";
import { parseSchedule } from "./cron_schedule.ts";

export interface Timer {
  stop(): Promise<void>;
}

interface Job {
  jobid: string;
  schedule: string;
  command: string;
  username: string;
}
interface QueuedRequest {
  id: string;
  method: string;
  url: string;
  headers: Record<string, string> | null;
  body: Uint8Array<ArrayBuffer> | null;
  timeout_milliseconds: number;
}

const pollMs = 250;
const responsesLast = "6 hours";
/** pg_net's batch size. */
const batch = 200;

/** `url`: as the superuser. */
export function startTimer(url: string, log: (line: string) => void): Timer {
  const sql = postgres(url, {
    max: 6,
    onnotice: () => {},
    backoff: (failures) => Math.min(1, failures * 0.1),
  });
  const stopping = new AbortController();
  const pending = new Set<Promise<void>>();
  const lastStarts = new Map<string, Date>();
  const running = new Set<string>();
  const inBackground = (work: Promise<void>) => {
    const logged = work.catch((error) => {
      if (!stopping.signal.aborted) log(`timer: ${error}`);
    });
    pending.add(logged);
    void logged.finally(() => pending.delete(logged));
  };

  async function tick(): Promise<void> {
    const [has] = await sql<{ cron: boolean; net: boolean }[]>`
      select to_regclass('cron.job') is not null as cron, to_regclass('net.http_request_queue') is not null as net`;
    if (has?.cron) await startDueJobs();
    if (has?.net) await sendQueued();
  }

  async function startDueJobs(): Promise<void> {
    const jobs = await sql<Job[]>`
      select jobid::text, schedule, command, username from cron.job where active`;
    const now = new Date();
    for (const job of jobs) {
      const last = lastStarts.get(job.jobid);
      if (last === undefined) lastStarts.set(job.jobid, now);
      // As in pg_cron, a job that is still running is not started a second time.
      else if (!running.has(job.jobid) && parseSchedule(job.schedule).isDue(last, now)) {
        lastStarts.set(job.jobid, now);
        running.add(job.jobid);
        inBackground(runJob(job).finally(() => running.delete(job.jobid)));
      }
    }
  }

  async function runJob({ jobid, command, username }: Job): Promise<void> {
    const connection = await sql.reserve();
    try {
      const [run] = await connection<{ runid: string }[]>`
        insert into cron.job_run_details (jobid, job_pid, database, username, command, status, start_time)
        values (${jobid}, pg_backend_pid(), current_database(), ${username}, ${command}, 'running', clock_timestamp())
        returning runid::text`;
      let status = "succeeded";
      let message: string;
      try {
        await connection`select set_config('session_authorization', ${username}, false)`;
        const result = await connection.unsafe(command);
        message = `${result.count ?? 0} ${result.count === 1 ? "row" : "rows"}`;
      } catch (error) {
        status = "failed";
        message = error instanceof postgres.PostgresError ? `ERROR:  ${error.message}` : String(error);
      }
      await connection.unsafe("reset session authorization");
      await connection.unsafe("discard all");
      await connection`
        update cron.job_run_details set status = ${status}, return_message = ${message}, end_time = clock_timestamp()
        where runid = ${run?.runid ?? null}`;
    } finally {
      connection.release();
    }
  }

  async function sendQueued(): Promise<void> {
    // Deleted before it is sent, for at-most-once delivery like pg_net's.
    const requests = await sql<QueuedRequest[]>`
      delete from net.http_request_queue
      where id in (select id from net.http_request_queue order by id limit ${batch} for update skip locked)
      returning id::text, method, url, headers, body, timeout_milliseconds`;
    for (const request of requests) inBackground(send(request));
  }

  async function send(
    { id, method, url, headers, body, timeout_milliseconds }: QueuedRequest,
  ): Promise<void> {
    try {
      const response = await fetch(url, {
        method,
        headers: headers ?? {},
        body: method === "GET" ? null : body,
        signal: AbortSignal.any([stopping.signal, AbortSignal.timeout(timeout_milliseconds)]),
      });
      const content = await response.text();
      await sql`
        insert into net._http_response (id, status_code, content_type, headers, content, timed_out)
        values (${id}, ${response.status}, ${response.headers.get("content-type")},
          ${JSON.stringify(Object.fromEntries(response.headers))}::text::jsonb, ${content}, false)`;
    } catch (error) {
      if (stopping.signal.aborted) return;
      const timedOut = error instanceof DOMException && error.name === "TimeoutError";
      await sql`
        insert into net._http_response (id, timed_out, error_msg)
        values (${id}, ${timedOut}, ${
        timedOut ? `Timeout of ${timeout_milliseconds} ms reached` : String(error)
      })`;
    }
  }

  async function cleanUp(): Promise<void> {
    const [has] = await sql`select to_regclass('net._http_response') as net`;
    if (has?.net) {
      await sql`delete from net._http_response where created < now() - ${responsesLast}::interval`;
    }
  }

  /** Runs that the last stop interrupted. */
  async function endInterrupted(): Promise<void> {
    const [has] = await sql`select to_regclass('cron.job_run_details') as details`;
    if (!has?.details) return;
    await sql`
      update cron.job_run_details set status = 'failed', return_message = 'server restarted'
      where status = 'running'`;
  }

  const loop = (async () => {
    let failing = false;
    await endInterrupted().catch((error) => log(`timer: ${error}`));
    for (let count = 0; !stopping.signal.aborted; count++) {
      try {
        await tick();
        if (count % 240 === 0) await cleanUp();
        failing = false;
      } catch (error) {
        // The database is restarting, or an extension was just dropped.
        if (!failing && !stopping.signal.aborted) log(`timer: ${error}`);
        failing = true;
      }
      await pause(pollMs);
    }
  })();
  return {
    stop: async () => {
      stopping.abort();
      await loop;
      await Promise.all(pending);
      await sql.end({ timeout: 5 });
    },
  };
}
