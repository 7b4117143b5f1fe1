/** The emulator of RunPod's load-balancing endpoints, with a worker whose behavior is set by the path. */
import { assert, assertEquals, assertRejects } from "#assert";
import { createLoadBalancer, type LoadBalancerOptions } from "../../local/emulators/runpod/load_balancer.ts";
import { fromFileUrl } from "../../local/paths.ts";
import { denoEnvironment } from "../../local/stack/environment.ts";
import { pause } from "../../local/stack/processes.ts";

const script = fromFileUrl(new URL("./worker_fixture.ts", import.meta.url));

/** The endpoint behind an HTTP server, as clients reach it. */
async function started(options: Partial<LoadBalancerOptions> = {}, env: Record<string, string> = {}) {
  const logFile = await Deno.makeTempFile();
  const lines: string[] = [];
  const balancer = createLoadBalancer({
    endpointId: "e1",
    apiKey: "key",
    prefix: "/lb",
    idleMs: 60_000,
    worker: {
      command: [Deno.execPath(), "run", "-A", "--no-check", script],
      cwd: ".",
      logFile,
      env: { ...denoEnvironment(), DENO_NO_UPDATE_CHECK: "1", ...env },
    },
    log: (line) => lines.push(line),
    ...options,
  });
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    (request) => balancer.fetch(request),
  );
  const url = `http://127.0.0.1:${server.addr.port}`;
  return {
    balancer,
    lines,
    ask: (path: string, init: RequestInit = {}) =>
      fetch(`${url}/lb/e1${path}`, { ...init, headers: { authorization: "Bearer key", ...init.headers } }),
    url,
    async [Symbol.asyncDispose]() {
      await balancer.stop();
      await server.shutdown();
      await Deno.remove(logFile);
    },
  };
}

async function until(what: string, done: () => boolean | Promise<boolean>, ms = 20_000): Promise<void> {
  for (const end = performance.now() + ms; !await done();) {
    assert(performance.now() < end, `${what} did not happen within ${ms} ms`);
    await pause(20);
  }
}

Deno.test("the first request starts the worker and waits while it loads; any path is forwarded", async () => {
  await using run = await started({}, { LOAD_MS: "500" });
  assertEquals(run.balancer.workers(), []);
  const response = await run.ask("/any/path?x=1", {
    method: "POST",
    body: "hello",
    headers: { "x-tunebase-token": "t" },
  });
  assert(response.headers.get("x-runpod-worker-id")?.startsWith("local-"));
  const { pid, ...answer } = await response.json();
  assertEquals(answer, { path: "/any/path?x=1", method: "POST", token: "t", bytes: 5 });
  assertEquals(run.balancer.workers(), [pid]);
  assertEquals((await run.ask("/teapot")).status, 418);
});

Deno.test("the key and the endpoint are checked before a worker starts", async () => {
  await using run = await started();
  for (const headers of [new Headers(), new Headers({ authorization: "Bearer other" })]) {
    const response = await fetch(`${run.url}/lb/e1/x`, { headers });
    assertEquals([response.status, await response.json()], [401, { error: "unauthorized" }]);
  }
  const other = await fetch(`${run.url}/lb/e2/x`, { headers: { authorization: "Bearer key" } });
  assertEquals([other.status, await other.json()], [404, { error: "endpoint not found" }]);
  assertEquals(run.balancer.workers(), []);
});

Deno.test("concurrent requests share one worker, even while it starts", async () => {
  await using run = await started();
  const answers = await Promise.all(Array.from({ length: 10 }, async () => (await run.ask("/x")).json()));
  assertEquals(new Set(answers.map(({ pid }) => pid)).size, 1);
  const begin = performance.now();
  await Promise.all(Array.from({ length: 5 }, async () => (await run.ask("/wait?ms=500")).text()));
  assert(performance.now() - begin < 2000);
});

Deno.test("an idle worker ends, a busy one does not, and the next request starts another", async () => {
  await using run = await started({ idleMs: 300 });
  const first = (await (await run.ask("/x")).json()).pid;
  assertEquals(await (await run.ask("/wait?ms=1000")).text(), "waited");
  assertEquals(run.balancer.workers(), [first]);
  await until("the end of the worker", () => run.balancer.workers().length === 0);
  assert((await (await run.ask("/x")).json()).pid !== first);
});

Deno.test("without a healthy worker in time, the response is 400 without a worker id", async () => {
  for (const [name, value] of [["LOAD_MS", "60000"], ["CRASH_AT_START", "1"]] as const) {
    await using run = await started({ startMs: 1500 }, { [name]: value });
    const response = await run.ask("/x");
    assertEquals([response.status, response.headers.get("x-runpod-worker-id")], [400, null]);
    await response.body?.cancel();
  }
});

Deno.test("a dying worker causes a 502 with an HTML body, and the next request starts another", async () => {
  await using run = await started();
  const response = await run.ask("/crash");
  assertEquals([response.status, response.headers.get("x-runpod-worker-id")], [502, null]);
  assert((await response.text()).startsWith("<html>"));
  const again = await run.ask("/x");
  assertEquals(again.status, 200);
  await again.body?.cancel();
});

Deno.test("a worker that dies during a stream interrupts it", async () => {
  await using run = await started();
  const response = await run.ask("/stream?dies");
  let text = "";
  await assertRejects(async () => {
    for await (const part of response.body?.pipeThrough(new TextDecoderStream()) ?? []) text += part;
  });
  assert(text.startsWith("data: 0\n\ndata: 1\n\n"), text);
});

Deno.test("exceeding the processing time returns 524, or interrupts a stream", async () => {
  await using run = await started({ requestMs: 700 });
  await (await run.ask("/x")).body?.cancel();
  const response = await run.ask("/wait?ms=5000");
  assertEquals(response.status, 524);
  await response.body?.cancel();
  const stream = await run.ask("/stream");
  await assertRejects(() => stream.text());
});

Deno.test("rejects a body above the limit", async () => {
  await using run = await started({ maxBodyBytes: 1000 });
  const response = await run.ask("/x", { method: "POST", body: "x".repeat(1001) });
  assertEquals(response.status, 413);
  await response.body?.cancel();
  assertEquals((await (await run.ask("/x", { method: "POST", body: "x".repeat(1000) })).json()).bytes, 1000);
});

Deno.test("the worker detects within a second that a stream's client has disconnected", async () => {
  await using run = await started();
  const leaving = new AbortController();
  const response = await run.ask("/stream", { signal: leaving.signal });
  const reader = response.body?.getReader();
  await reader?.read();
  leaving.abort();
  await reader?.read().catch(() => {});
  await until(
    "the cancellation",
    async () => (await (await run.ask("/cancelled")).json()).cancelled === 1,
    1000,
  );
});

Deno.test("stopping ends the worker and the requests that wait for it", async () => {
  const run = await started({}, { LOAD_MS: "60000" });
  const waiting = run.ask("/x").then(async (response) => {
    await response.body?.cancel();
    return response.status;
  });
  await until("the worker", () => run.balancer.workers().length === 1);
  const [pid = 0] = run.balancer.workers();
  await run[Symbol.asyncDispose]();
  assertEquals(await waiting, 400);
  await assertRejects(() => Deno.readTextFile(`/proc/${pid}/stat`));
});
