/**
 * CPU time of each route and tick, compared with the 2 s after which the platform kills an isolate. Measures the whole warm
 * process, while the platform meters only the isolate's thread.
 */
import { copyJobs } from "../tests/support/job_copies.ts";
import { FakeWorker } from "../tests/support/fake_worker.ts";
import { meter } from "./cpu_meter.ts";
import { CpuHarness, type Part } from "./cpu_harness.ts";
import { percentile, type RawMeasurement, type Size } from "./results.ts";
import { makeFile } from "./validation.ts";

const hardLimitMs = 2000;
const mostPerRequestMs = 500;
const mostPerTickMs = 1000;
const model = "SmolLM2-135M-Instruct";

/** CPU milliseconds of each call. */
interface Sample {
  name: string;
  goalMs: number;
  ms: number[];
}
interface Run {
  harness: CpuHarness;
  /** Number of light and heavy calls. */
  light: number;
  heavy: number;
  megabytes: number;
  /** Of files whose tokens are counted when a job is created. */
  uncountedMegabytes: number;
  backlog: number;
  samples: Sample[];
}

export async function cpuPerRequest(
  log: (line: string) => void,
  size: Size,
): Promise<RawMeasurement[]> {
  const run: Run = {
    harness: await CpuHarness.start(),
    light: size === "short" ? 3 : 200,
    heavy: size === "short" ? 1 : 10,
    megabytes: size === "short" ? 1 : 31,
    uncountedMegabytes: size === "short" ? 0.25 : 4,
    backlog: size === "short" ? 20 : 1500,
    samples: [],
  };
  try {
    const jobs = await measureApi(run);
    await measureCallbacks(run, jobs);
    await measureTicks(run);
    return run.samples.map((sample) => report(sample, log));
  } finally {
    await run.harness.close();
  }
}

function report({ name, goalMs, ms }: Sample, log: (line: string) => void): RawMeasurement {
  const [p50, p99] = [percentile(ms, 0.5), percentile(ms, 0.99)];
  log(`${name.padEnd(44)} p50 ${p50.toFixed(1).padStart(7)}  p99 ${p99.toFixed(1).padStart(7)} ms of CPU`);
  return {
    value: p99,
    unit: `ms of CPU p99 of ${name} (p50 ${p50.toFixed(1)}, ${ms.length} calls)`,
    against: `${goalMs} ms of the ${hardLimitMs} ms that the platform allows`,
    ratio: goalMs / Math.max(p99, 0.01),
    goal: 1,
  };
}

/** Measures one kind of call. The first one is excluded, because it compiles the code. */
async function sample(
  { harness, samples }: Run,
  part: Part,
  name: string,
  times: number,
  call: (n: number) => Promise<unknown>,
): Promise<void> {
  await call(-1);
  const ms = await meter(harness.pid(part), times, async (n) => {
    await call(n);
    return true;
  });
  samples.push({ name, goalMs: part === "tunebase-scheduler" ? mostPerTickMs : mostPerRequestMs, ms });
}

function upload(bytes: Uint8Array<ArrayBuffer>): RequestInit {
  const form = new FormData();
  form.set("purpose", "fine-tune");
  form.set("file", new File([bytes], "rows.jsonl"));
  return { method: "POST", body: form };
}

/** Returns the ids of the jobs it created. */
async function measureApi(run: Run): Promise<string[]> {
  const { harness, light, heavy, megabytes, uncountedMegabytes } = run;
  const post = (body: unknown): RequestInit => ({ method: "POST", body: JSON.stringify(body) });
  const id = (text: string) => String(JSON.parse(text).id);
  const api = (name: string, times: number, call: (n: number) => Promise<unknown>) =>
    sample(run, "tunebase", name, times, call);

  const small = makeFile(20_000);
  await api("POST /files, 20 kB", light, () => harness.api("/files", upload(small)));
  const large = makeFile(megabytes * 2 ** 20);
  await api(`POST /files, ${megabytes} MiB`, heavy, () => harness.api("/files", upload(large)));
  await api(
    "POST /fine_tuning/jobs, a file not counted yet",
    heavy,
    async (n) => {
      const file = id(await harness.api("/files", upload(makeFile(uncountedMegabytes * 2 ** 20, n + 2))));
      await harness.api("/fine_tuning/jobs", post({ model, training_file: file }));
    },
  );
  const jobs: string[] = [];
  const body = { model, training_file: harness.bench.fileId };
  await api("POST /fine_tuning/jobs", light, async () => {
    jobs.push(id(await harness.api("/fine_tuning/jobs", post(body))));
  });
  await api("POST /fine_tuning/estimates", light, () => harness.api("/fine_tuning/estimates", post(body)));
  const [job = ""] = jobs;
  const paths = ["", "/events?limit=100", "/metrics?points=200", "/checkpoints"];
  for (const path of paths) {
    await api(
      `GET /fine_tuning/jobs/{id}${path}`,
      light,
      () => harness.api(`/fine_tuning/jobs/${job}${path}`),
    );
  }
  for (
    const path of ["/fine_tuning/jobs?limit=100", "/files?limit=100", "/models", "/usage", "/openapi.json"]
  ) {
    await api(`GET ${path}`, light, () => harness.api(path));
  }
  await api(
    "POST /fine_tuning/jobs/{id}/cancel",
    light,
    () => harness.api(`/fine_tuning/jobs/${jobs.pop()}/cancel`, { method: "POST" }),
  );
  return jobs;
}

async function measureCallbacks(run: Run, jobs: string[]): Promise<void> {
  const { harness, light } = run;
  const { stack } = harness.bench;
  // One for each call, plus the first, which does not count.
  const needed = light + 1;
  while (jobs.length < needed) {
    const body = JSON.stringify({ model, training_file: harness.bench.fileId });
    jobs.push(JSON.parse(await harness.api("/fine_tuning/jobs", { method: "POST", body })).id);
  }
  await stack
    .sql`update tunebase_internal.runpod_endpoints set run_per_second = 100000, max_running = null, calls_left = 100000`;
  while ((await harness.tick()).dispatched !== 0);
  const attempts = await stack.sql<{ id: string }[]>`
    select id from tunebase.attempts where state = 'submitted' order by id limit ${needed}`;
  const workers = attempts.map(({ id }) => new FakeWorker({ url: harness.url, keys: stack.keys }, id));
  const worker = (n: number): FakeWorker => {
    const found = workers[n + 1];
    if (found === undefined) throw new Error(`there is no attempt ${n + 1}`);
    return found;
  };
  const callback = (name: string, call: (n: number) => Promise<unknown>) =>
    sample(run, "tunebase-callback", name, light, call);
  await callback("POST …/claim", (n) => worker(n).claim());
  await callback(
    "POST …/report, 10 metrics",
    (n) =>
      worker(n).report({ metrics: Array.from({ length: 10 }, (_, step) => FakeWorker.metric(step + 1)) }),
  );
  const bytes = new TextEncoder().encode("weights");
  const file = FakeWorker.file("adapter_model.safetensors", bytes);
  await callback("POST …/uploads", (n) => worker(n).upload(file.path, bytes));
  await callback("POST …/verify", (n) => worker(n).verify(file));
  await callback("POST …/finish", (n) => worker(n).succeed([file]));
}

/** The counts in a tick's response. */
type Count = "dispatched" | "reconciled" | "sent" | "validated";

async function measureTicks(run: Run): Promise<void> {
  const { harness, light, heavy, backlog, megabytes, samples } = run;
  const { sql } = harness.bench.stack;
  while (Object.values(await harness.tick()).some((count) => count > 0));
  await sample(run, "tunebase-scheduler", "a tick with nothing due", light, () => harness.tick());

  /** Measures ticks while they have work of this kind. */
  const ticks = async (name: string, count: Count, settleMs = 10, prepare = () => Promise.resolve()) => {
    const ms = await meter(harness.pid("tunebase-scheduler"), heavy, async () => {
      await prepare();
      return (await harness.tick())[count] !== 0;
    }, settleMs);
    samples.push({ name, goalMs: mostPerTickMs, ms });
  };
  await ticks("a tick that reconciles 20 attempts", "reconciled", 10, async () => {
    await sql`update tunebase.attempts set reconcile_at = now() where id in (
      select id from tunebase.attempts where state <> 'ended' order by random() limit 20)`;
  });

  const body = JSON.stringify({ model, training_file: harness.bench.fileId });
  await harness.api("/fine_tuning/jobs", { method: "POST", body });
  const projects = await sql<{ id: string }[]>`select id from tunebase.projects`;
  await copyJobs(sql, backlog, projects.map(({ id }) => id));
  await ticks(`a tick of ${backlog} jobs due`, "dispatched");

  const receiver = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    () => new Response("ok"),
  );
  try {
    const url = `http://127.0.0.1:${receiver.addr.port}/`;
    await harness.bench.openai.webhooks.create({
      name: "bench",
      url,
      event_types: ["fine_tuning.job.cancelled"],
    });
    await queueDeliveries(harness, 2 * backlog);
    // A tick answers within a second; its deliveries continue.
    await ticks(`a tick of ${2 * backlog} deliveries due`, "sent", 1500);
  } finally {
    await receiver.shutdown();
  }
  await uploadPart(harness, makeFile(2 * megabytes * 2 ** 20, 7));
  await ticks(`a tick of checking a file of ${2 * megabytes} MiB`, "validated");
}

async function queueDeliveries({ bench }: CpuHarness, count: number): Promise<void> {
  await bench.stack.sql`
    insert into tunebase.webhook_deliveries (
      project_id, event_id, event_type, event_created_at, channel, endpoint_id, body
    )
    select e.project_id, x.event_id, 'fine_tuning.job.cancelled', now(), 'webhook', e.id, '{"object": "event"}'
    from tunebase.webhook_endpoints e, generate_series(1, ${count}::integer) n
    cross join lateral (select case when n > 0 then tunebase_internal.uuid7() end as event_id) x`;
}

/** A file that ticks validate: uploaded in parts. */
async function uploadPart(harness: CpuHarness, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
  const post = async (path: string, body: unknown) =>
    JSON.parse(await harness.api(path, { method: "POST", body: JSON.stringify(body) }));
  const { id } = await post("/uploads", {
    bytes: bytes.length,
    filename: "rows.jsonl",
    mime_type: "application/jsonl",
    purpose: "fine-tune",
  });
  const form = new FormData();
  form.set("data", new Blob([bytes]));
  const part = JSON.parse(await harness.api(`/uploads/${id}/parts`, { method: "POST", body: form }));
  await post(`/uploads/${id}/complete`, { part_ids: [part.id] });
}
