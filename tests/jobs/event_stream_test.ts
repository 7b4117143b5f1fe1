/** Following a job: live events, metrics for its chart, and checkpoints. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "#assert";
import { startTunebase } from "../support/test_server.ts";
import { createJob, FakeWorker, latestAttempt } from "../support/fake_worker.ts";

const tunebase = await startTunebase();
Deno.test.afterAll(() => tunebase.close());
const { sql } = tunebase;
const user = await tunebase.user();
await sql`update tunebase.projects set max_running = 1000`;

async function running() {
  const job = await createJob(user);
  await tunebase.tick();
  const worker = new FakeWorker(tunebase, (await latestAttempt(tunebase, job)).id);
  await worker.claim();
  return { job, worker };
}

/** Opens a stream and reads it; `next` returns one event's fields. */
async function stream(job: { id: string }, lastEventId?: string) {
  const stopping = new AbortController();
  const response = await user.fetch(`/fine_tuning/jobs/${job.id}/events`, {
    headers: {
      accept: "text/event-stream",
      ...(lastEventId === undefined ? {} : { "last-event-id": lastEventId }),
    },
    signal: stopping.signal,
  });
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  const next = async (): Promise<Record<string, string>> => {
    for (;;) {
      const end = text.indexOf("\n\n");
      if (end >= 0) {
        const block = text.slice(0, end);
        text = text.slice(end + 2);
        const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s).slice(0, 2)));
        if ("data" in fields) return fields;
        continue;
      }
      const read = await reader?.read();
      if (read === undefined || read.done) return {};
      text += read.value;
    }
  };
  return { response, next, close: () => stopping.abort() };
}
const message = (event: Record<string, string>) => String(JSON.parse(event.data ?? "{}").message);

Deno.test("a stream sends past events and then live ones, each once and in order", async () => {
  const { job, worker } = await running();
  const { response, next, close } = await stream(job);
  assertStringIncludes(response.headers.get("content-type") ?? "", "text/event-stream");
  const first = [await next(), await next(), await next()];
  assertEquals(first.map(({ id }) => id), ["1", "2", "3"]);
  assertEquals(first.map(message).at(-1), "Fine-tuning job started.");
  await worker.report({ metrics: [FakeWorker.metric(1, 3)], events: [{ level: "info", message: "hello" }] });
  assertEquals([message(await next()), (await next()).event], ["hello", "metrics"]);
  close();
});

Deno.test("reconnecting with Last-Event-ID misses and repeats no event", async () => {
  const { job, worker } = await running();
  const before = await stream(job);
  for (let i = 0; i < 3; i++) await before.next();
  before.close();
  await worker.report({ events: [{ level: "info", message: "while away" }] });
  const after = await stream(job, "3");
  const event = await after.next();
  assertEquals([event.id, message(event)], ["4", "while away"]);
  after.close();
});

Deno.test("the stream closes when the job ends; reconnecting is a 204", async () => {
  const { job, worker } = await running();
  const { next } = await stream(job, "3");
  await worker.finishWithAdapter();
  const seen: string[] = [];
  for (;;) {
    const event = await next();
    assert("event" in event || "id" in event, `the stream ended without \`done\`, after ${seen}`);
    if (event.event === "done") break;
    seen.push(message(event));
  }
  assertEquals(seen.at(-1), "The job has successfully completed.");
  assertEquals(await next(), {});
  const again = await stream(job, String(3 + seen.length));
  assertEquals(again.response.status, 204);
});

Deno.test("one poll feeds many streams", async () => {
  const { job, worker } = await running();
  const streams = await Promise.all(Array.from({ length: 20 }, () => stream(job, "3")));
  await worker.report({ events: [{ level: "info", message: "to all" }] });
  assertEquals(
    (await Promise.all(streams.map(({ next }) => next()))).map(message),
    streams.map(() => "to all"),
  );
  for (const { close } of streams) close();
});

Deno.test("a stream requires an own job and a numeric event id", async () => {
  const { job } = await running();
  const stranger = await tunebase.user();
  const accept = { accept: "text/event-stream" };
  const foreign = await stranger.fetch(`/fine_tuning/jobs/${job.id}/events`, { headers: accept });
  assertEquals([foreign.status, (await foreign.json()).error.code], [404, "job_not_found"]);
  const wrong = await user.fetch(`/fine_tuning/jobs/${job.id}/events`, {
    headers: { ...accept, "last-event-id": "x" },
  });
  assertEquals([wrong.status, (await wrong.json()).error.param], [400, "last-event-id"]);
});

// @proves report-first-100-points
Deno.test("the chart covers the whole run, spikes included, in the requested number of points", async () => {
  const { job, worker } = await running();
  const [{ job_id, project_id } = {}] =
    await sql`select job_id, project_id from tunebase.attempts where id = ${worker.attemptId}`;
  await sql`
    insert into tunebase.metrics (job_id, project_id, attempt, step, epoch, training_loss, validation_loss)
    select ${job_id}, ${project_id}, 1, s, s / 1000.0, case when s = 7777 then 99 else 1.0 / s end,
      case when s = 5000 then 0.5 end
    from generate_series(1, 20000) s`;
  const answer = await (await user.fetch(`/fine_tuning/jobs/${job.id}/metrics?points=200`)).json();
  const steps: number[] = answer.data.map(({ step }: { step: number }) => step);
  assertEquals([answer.total, steps.at(0), steps.at(-1)], [20000, 1, 20000]);
  assert(steps.length > 150 && steps.length <= 204, `${steps.length} points`);
  assertEquals(steps, steps.toSorted((a, b) => a - b));
  assert(steps.includes(7777), "the spike");
  assert(steps.includes(5000), "the validation");
  const part = await (await user.fetch(
    `/fine_tuning/jobs/${job.id}/metrics?points=1000&from_step=100&to_step=199`,
  )).json();
  assertEquals([part.total, part.data.length], [100, 100]);
});

Deno.test("a job without metrics has an empty chart; an invalid query is a 400", async () => {
  const { job } = await running();
  const answer = await (await user.fetch(`/fine_tuning/jobs/${job.id}/metrics`)).json();
  const { number } = (await (await user.fetch(`/fine_tuning/jobs/${job.id}/events?limit=1`)).json()).data[0];
  assertEquals(answer, { object: "fine_tuning.job.metrics", last_event: number, total: 0, data: [] });
  const wrong = await user.fetch(`/fine_tuning/jobs/${job.id}/metrics?points=2`);
  assertEquals([wrong.status, (await wrong.json()).error.param], [400, "points"]);
});

Deno.test("the official SDK can page through a job's checkpoints", async () => {
  const { job, worker } = await running();
  for (const step of [2, 4, 6]) await worker.checkpoint(step);
  const found = [];
  for await (const checkpoint of user.openai.fineTuning.jobs.checkpoints.list(job.id, { limit: 2 })) {
    found.push(checkpoint);
  }
  assertEquals(found.map(({ step_number }) => step_number), [6, 4, 2]);
  assertEquals(found[0]?.fine_tuning_job_id, job.id);
  assertEquals(found[0]?.metrics, { step: 6, train_loss: 1 });
  await assertRejects(() => user.openai.fineTuning.jobs.checkpoints.list(job.id, { after: "ftckpt-x" }));
});

Deno.test("a job's events can be listed without step metrics", async () => {
  const { job, worker } = await running();
  const metrics = Array.from({ length: 30 }, (_, n) => FakeWorker.metric(n + 1));
  await worker.report({ events: [{ level: "warn", message: "early" }], metrics: metrics.slice(0, 15) });
  await worker.report({ events: [{ level: "info", message: "late" }], metrics: metrics.slice(15) });
  const read = async (query: string) =>
    (await user.fetch(`/fine_tuning/jobs/${job.id}/events?${query}`)).json();
  const log = await read("type=message&limit=2");
  assertEquals([log.data.map(({ message }: { message: string }) => message), log.has_more], [
    ["late", "early"],
    true,
  ]);
  const rest = await read(`type=message&after=${log.last_id}`);
  assert(rest.data.every(({ type }: { type: string }) => type === "message") && !rest.has_more);
  assertEquals((await read("type=metrics&limit=100")).data.length, 30);
  assertEquals((await read("limit=100")).data.length, 30 + 2 + rest.data.length);
  assertEquals((await read("type=x")).error.param, "type");
});
