/**
 * A Tunebase with its own database, Storage and RunPod, in which one crash point after another is tried. A front proxy
 * sends the next request of the armed function to an instance that will crash, and all others to healthy ones.
 */
import OpenAI from "openai";
import { callbackEnvironment } from "../../local/stack/environment.ts";
import { freePort } from "../../local/state_dir.ts";
import { Queue, type Run, shown } from "../../local/emulators/runpod/queue.ts";
import { deriveSecret } from "../../supabase/functions/_shared/secrets.ts";
import { WebhookReceiver } from "../support/webhook_receiver.ts";
import { startTunebase, type Tunebase } from "../support/test_server.ts";
import {
  type Answer,
  createJob,
  FakeWorker,
  freshRows,
  latestAttempt,
  manifest,
} from "../support/fake_worker.ts";
import { Instances } from "./instances.ts";
import type { CrashPoint, FunctionName } from "./serve.ts";

type Job = { id: string };

/** A worker that retries callbacks as the real one does: the same body and webhook-id until it gets an answer. */
class RetryingWorker extends FakeWorker {
  override async call(name: string, body: Answer): Promise<Answer> {
    const id = crypto.randomUUID();
    for (let tries = 1;; tries++) {
      const response = await this.send(name, body, undefined, id);
      const answer = await response.json();
      if (response.ok) return answer;
      if (response.status < 500 || tries === 4) {
        throw new Error(`${name}: ${response.status} ${JSON.stringify(answer)}`);
      }
    }
  }
}

export class CrashHarness {
  readonly queue = new Queue();
  readonly instances = new Instances();
  /** A customer's server, which receives webhooks. */
  readonly receiver = new WebhookReceiver();
  /** Every run that RunPod accepted. */
  readonly runs: Run[] = [];
  /** The official SDK with its own retries. */
  readonly openai: OpenAI;
  #armed: { name: FunctionName; port: number } | null = null;

  private constructor(
    readonly tunebase: Tunebase,
    readonly url: string,
    private readonly user: Awaited<ReturnType<Tunebase["user"]>>,
    private readonly front: Deno.HttpServer,
    private readonly schedulerSecret: string,
    private readonly dbUrl: string,
  ) {
    this.openai = new OpenAI({ baseURL: `${url}/functions/v1/tunebase`, apiKey: user.apiKey, maxRetries: 2 });
  }

  static async start(): Promise<CrashHarness> {
    const tunebase = await startTunebase();
    const user = await tunebase.user();
    await tunebase.sql`update tunebase.projects set max_running = 1000`;
    await tunebase.sql`update tunebase.base_models set queue_timeout_seconds = 120`;
    const port = freePort(0, "");
    const front = Deno.serve(
      { hostname: "127.0.0.1", port, onListen: () => {} },
      (request) => harness.#route(request),
    );
    const secret = deriveSecret(tunebase.keys.masterKey, "scheduler");
    const [row] = await tunebase.sql<{ name: string }[]>`select current_database() as name`;
    const address = new URL(Deno.env.get("TUNEBASE_TEST_DB_URL") ?? "");
    address.pathname = `/${row?.name}`;
    const harness: CrashHarness = new CrashHarness(
      tunebase,
      `http://127.0.0.1:${port}`,
      user,
      front,
      secret,
      address.href,
    );
    harness.useReliableRunpod();
    return harness;
  }

  async close(): Promise<void> {
    await this.front.shutdown();
    await this.instances.close();
    await this.receiver.close();
    await this.tunebase.close();
  }

  /** Sends the next request for this function to an instance that crashes there. */
  async arm(name: FunctionName, crashAt: CrashPoint | null): Promise<void> {
    const env = callbackEnvironment(this.tunebase.url, this.dbUrl, this.tunebase.keys);
    this.#armed = { name, port: await this.instances.start({ of: name, env, crashAt }) };
  }

  async #route(request: Request): Promise<Response> {
    const url = new URL(request.url);
    const { method, headers } = request;
    const init = { method, headers, body: method === "GET" ? null : await request.arrayBuffer() };
    const armed = this.#armed;
    if (armed === null || !url.pathname.startsWith(`/functions/v1/${armed.name}/`)) {
      return await fetch(`${this.tunebase.url}${url.pathname}${url.search}`, init);
    }
    this.#armed = null;
    const path = url.pathname.replace("/functions/v1", "");
    return await fetch(`http://127.0.0.1:${armed.port}${path}${url.search}`, init);
  }

  // --- clients

  /** Creates a job through the API. */
  createJob(): Promise<OpenAI.FineTuning.FineTuningJob> {
    return createJob({ ...this.user, openai: this.openai }, {}, freshRows());
  }

  /** Creates an endpoint for webhooks of succeeded jobs, at its own path. */
  createEndpoint(): Promise<OpenAI.Webhooks.WebhookEndpoint> {
    return this.openai.webhooks.create(this.endpointParams());
  }

  endpointParams(): OpenAI.Webhooks.WebhookCreateParams {
    const url = `${this.receiver.url}/${crypto.randomUUID()}`;
    return { name: "hooks", url, event_types: ["fine_tuning.job.succeeded"] };
  }

  /** Creates a file through the API. */
  createFile(): Promise<OpenAI.FileObject> {
    return this.openai.files.create({ file: new File([freshRows()], "rows.jsonl"), purpose: "fine-tune" });
  }

  async statusOf(job: Job): Promise<{ status: string; code: string | null }> {
    const now = await this.openai.fineTuning.jobs.retrieve(job.id);
    return { status: now.status, code: now.error?.code ?? null };
  }

  /** Counts rows; `table` is SQL from these files. */
  async count(table: string): Promise<number> {
    const [row] = await this.tunebase.sql.unsafe<{ count: number }[]>(`select count(*)::int from ${table}`);
    return row?.count ?? 0;
  }

  /** One call of the timer. It is not retried: the next one comes anyway. */
  async tick(): Promise<void> {
    const response = await fetch(`${this.url}/functions/v1/tunebase-scheduler/tick`, {
      method: "POST",
      headers: { authorization: `Bearer ${this.schedulerSecret}`, "x-test-tick": "1" },
    });
    await response.body?.cancel();
    if (response.status !== 200 && response.status !== 503) throw new Error(`tick: ${response.status}`);
  }

  /** RunPod's webhook, retried twice unless it gets a 200. */
  async sendRunpodWebhook(run: Run): Promise<void> {
    for (let tries = 0; tries < 3; tries++) {
      const response = await fetch((run.webhook ?? "").replace(this.tunebase.url, this.url), {
        method: "POST",
        body: JSON.stringify(shown(run)),
      });
      await response.body?.cancel();
      if (response.status === 200) return;
    }
  }

  /** Advances time by moving stored times back. */
  async advanceTime(seconds: number): Promise<void> {
    const by = `${seconds} seconds`;
    await this.tunebase.sql`
      update tunebase.attempts
      set reconcile_at = reconcile_at - ${by}::interval, lease_until = lease_until - ${by}::interval,
        claim_deadline = claim_deadline - ${by}::interval, created_at = created_at - ${by}::interval,
        submitted_at = submitted_at - ${by}::interval, started_at = started_at - ${by}::interval,
        cancel_requested_at = cancel_requested_at - ${by}::interval, cancel_sent_at = cancel_sent_at - ${by}::interval
      where state <> 'ended'`;
    await this.tunebase.sql`
      update tunebase.jobs set due_at = due_at - ${by}::interval, queued_at = queued_at - ${by}::interval
      where finished_at is null`;
    await this.tunebase.sql`
      update tunebase.webhook_deliveries
      set next_at = next_at - ${by}::interval, leased_until = leased_until - ${by}::interval
      where status = 'pending'`;
    await this.tunebase
      .sql`update tunebase_internal.outbox set due_at = due_at - ${by}::interval where fanned_out_at is null`;
    await this.tunebase
      .sql`update tunebase_internal.orphaned_objects set next_at = next_at - ${by}::interval`;
    await this.tunebase
      .sql`update tunebase_internal.runpod_endpoints set blocked_until = blocked_until - ${by}::interval`;
  }

  // --- RunPod

  /** A RunPod that accepts every run and reports its true status. */
  useReliableRunpod(): void {
    const { runpod } = this.tunebase;
    const asked = () => this.queue.get(runpod.requests.at(-1)?.path.split("/").at(-1) ?? "");
    runpod.run = () => {
      const body = runpod.requests.at(-1)?.body as { input: unknown; webhook: string };
      const run = this.queue.add(body.input, body.webhook, { executionTimeout: 1e9, ttl: 1e9 });
      this.runs.push(run);
      return Response.json({ id: run.id, status: run.status });
    };
    runpod.status = () => {
      const run = asked();
      return run === undefined ? new Response("", { status: 404 }) : Response.json(shown(run));
    };
    runpod.cancel = () => {
      const run = asked();
      if (run !== undefined) this.queue.cancel(run);
      return Response.json({ id: run?.id, status: "CANCELLED" });
    };
  }

  /** The newest run of a job; undefined if RunPod has none. */
  runOf(job: Job): Run | undefined {
    return this.runs.findLast(({ input }) =>
      String(Reflect.get(Object(input), "job_id")).replaceAll("-", "") === job.id.slice(6)
    );
  }

  /** A job whose run is queued at RunPod. */
  async dispatchedJob(): Promise<{ job: Job; run: Run }> {
    const job = await this.createJob();
    await this.tick();
    const run = this.runOf(job);
    if (run === undefined) throw new Error("the job was not dispatched");
    return { job, run };
  }

  /** A job whose worker has started but has not called yet. */
  async startedJob(): Promise<{ job: Job; run: Run; worker: FakeWorker }> {
    const { job } = await this.dispatchedJob();
    return this.startWorker(job);
  }

  /** Starts a worker for the newest run of a job. */
  startWorker(job: Job): { job: Job; run: Run; worker: FakeWorker } {
    const run = this.runOf(job);
    if (run === undefined) throw new Error("the job was not dispatched");
    return { job, run, worker: this.#worker(run) };
  }

  wasCancelled({ id }: Run): boolean {
    return this.tunebase.runpod.cancels.some(({ path }) => path.endsWith(id));
  }

  /** A job whose worker has claimed the attempt. */
  async runningJob(): Promise<{ job: Job; run: Run; worker: FakeWorker }> {
    const all = await this.startedJob();
    await all.worker.claim();
    return all;
  }

  #worker(run: Run): FakeWorker {
    const id = `worker-${crypto.randomUUID()}`;
    Object.assign(run, { status: "IN_PROGRESS", worker: id, startedAt: Date.now() });
    const attempt = /\/attempts\/([^/]+)$/.exec(String(Reflect.get(Object(run.input), "callback_url")))?.[1];
    return new RetryingWorker({ ...this.tunebase, url: this.url }, attempt ?? "", id);
  }

  attemptOf(job: Job) {
    return latestAttempt(this.tunebase, job);
  }

  // --- progress

  /** Runs workers, the timer and the clock until the job ends. Returns how it ended. */
  async runToEnd(job: Job): Promise<{ status: string; code: string | null }> {
    for (let round = 0; round < 12; round++) {
      for (const run of this.queue.waiting) {
        const worker = this.#worker(run);
        if ((await worker.claim()).claimed === true) await this.completeRun(run, worker);
        else this.queue.post(run.worker ?? "", run.id, { output: { status: "refused" } });
      }
      const now = await this.openai.fineTuning.jobs.retrieve(job.id);
      if (now.finished_at !== null) {
        await this.advanceTime(61);
        await this.tick();
        return { status: now.status, code: now.error?.code ?? null };
      }
      await this.advanceTime(61);
      await this.tick();
    }
    const rows = await this.tunebase
      .sql`select state, outcome, error_message, reconcile_at from tunebase.attempts a
      where replace(job_id::text, '-', '') = ${job.id.slice(6)} order by number`;
    throw new Error(`the job did not end: ${JSON.stringify(rows)}`);
  }

  /** Completes a claimed run. */
  async completeRun(run: Run, worker: FakeWorker): Promise<void> {
    await worker.finishWithAdapter();
    this.queue.post(run.worker ?? "", run.id, { output: { status: "completed" } });
  }

  /** Uploads an adapter without verifying it; returns its manifest. */
  async uploadAdapter(worker: FakeWorker): Promise<Answer> {
    const bytes = new TextEncoder().encode("weights");
    const file = FakeWorker.file("adapter_model.safetensors", bytes);
    await worker.upload(file.path, bytes);
    return manifest([file]);
  }
}
