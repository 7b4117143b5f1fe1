/** Following a job across isolate retirements: real processes with limits that they reach every few seconds. */
import { assert, assertEquals } from "#assert";
import { EventSourceParserStream } from "eventsource-parser/stream";
import { buildDashboard } from "../../local/commands/dashboard.ts";
import { platformLimits } from "../../local/emulators/functions/limits.ts";
import { startChromium } from "../support/chromium.ts";
import { openDashboard } from "../support/browser_session.ts";
import { bundledCli } from "../support/cli_runner.ts";
import { startTunebase, type TestUser } from "../support/test_server.ts";
import { createJob, FakeWorker, latestAttempt } from "../support/fake_worker.ts";

/** An isolate retires after 7 s and is killed after 14; a stream lasts a minute if its isolate lives that long. */
const wallMs = 14_000;
await buildDashboard((line) => console.log(line));
const tunebase = await startTunebase({}, { apiLimits: { ...platformLimits, hardCpuMs: 60_000, wallMs } });
const user = await tunebase.user();
const program = await bundledCli({
  TUNEBASE_BASE_URL: `${tunebase.url}/functions/v1/tunebase`,
  TUNEBASE_API_KEY: user.apiKey,
});
const browser = await startChromium();
Deno.test.afterAll(async () => {
  await browser.close();
  await program.close();
  await tunebase.close();
});

async function running() {
  const job = await createJob(user);
  await tunebase.tick();
  const worker = new FakeWorker(tunebase, (await latestAttempt(tunebase, job)).id);
  await worker.claim();
  return { job, worker };
}

/** A client's record: the ids of events in order, its connections, and how many of them broke. */
interface Seen {
  ids: number[];
  connections: number;
  broken: number;
}

const nothingSeen = (): Seen => ({ ids: [], connections: 0, broken: 0 });

/** Follows a job to its end, reconnecting with the id of the last event. `seen` grows meanwhile. */
async function follow(client: TestUser, job: { id: string }, seen = nothingSeen()): Promise<Seen> {
  for (;;) {
    const response = await client.fetch(`/fine_tuning/jobs/${job.id}/events`, {
      headers: { accept: "text/event-stream", "last-event-id": String(seen.ids.at(-1) ?? 0) },
    });
    if (response.status === 204) return seen;
    seen.connections += 1;
    assert(seen.connections < 500, `the events never end: ${response.status}`);
    if (!response.ok || response.body === null) {
      await response.body?.cancel();
      await new Promise((resolve) => setTimeout(resolve, 200));
      continue;
    }
    const events = response.body.pipeThrough(new TextDecoderStream()).pipeThrough(
      new EventSourceParserStream(),
    );
    try {
      for await (const { event, id } of events) {
        if (event === "done") return seen;
        seen.ids.push(Number(id));
      }
    } catch {
      seen.broken += 1;
    }
  }
}

const oneTo = (count: number) => Array.from({ length: count }, (_, n) => n + 1);

Deno.test("an SSE client, the CLI and the dashboard see each event once across isolate retirements", async () => {
  const { job, worker } = await running();
  const client = follow(user, job);
  const cli = program.start(["jobs", "follow", job.id]);
  await cli.says("Fine-tuning job started.");
  await using visitor = await openDashboard(browser, tunebase, { user, path: `jobs/${job.id}` });
  await visitor.page.locator('[data-connection="live"]').waitFor();

  const messages: string[] = [];
  for (const end = Date.now() + 2.5 * wallMs; Date.now() < end;) {
    messages.push(`event ${messages.length + 1}.`);
    await worker.report({ events: [{ level: "info", message: messages.at(-1) ?? "" }] });
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  await visitor.page.getByText(messages.at(-1) ?? "", { exact: true }).waitFor();
  for (const message of messages) {
    assertEquals(await visitor.page.getByText(message, { exact: true }).count(), 1, message);
  }
  await worker.finishWithAdapter();
  const { ids, connections, broken } = await client;
  assertEquals(ids, oneTo(ids.length));
  assert(ids.length > messages.length, `${ids.length} events`);
  assert(connections >= 3, `${connections} connections`);
  assertEquals(broken, 0, "each stream was ended by the API, not cut");
  const { code, out, err } = await cli.done;
  assertEquals(code, 0, err);
  assertEquals(out.match(/event \d+\./g), messages);
  assert(!err.includes("Connection lost"), err);
});

Deno.test("clients reconnect streams of a killed isolate and see each event once", async () => {
  const { job, worker } = await running();
  const seen = nothingSeen();
  const client = follow(user, job, seen);
  for (let n = 0; n < 20; n++) {
    const before = seen.ids.length;
    await worker.report({ events: [{ level: "info", message: `event ${n}` }] });
    if (n % 8 !== 4) continue;
    // A client between two connections has no stream to lose: kill when it has read the event.
    while (seen.ids.length === before) await new Promise((resolve) => setTimeout(resolve, 20));
    for (const pid of tunebase.apiPids()) Deno.kill(pid, "SIGKILL");
  }
  await worker.finishWithAdapter();
  const { ids, broken } = await client;
  assertEquals(ids, oneTo(ids.length));
  assert(ids.length > 20 && broken > 0, `${ids.length} events, ${broken} broken streams`);
});
