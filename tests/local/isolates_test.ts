/** The edge function runner under the platform's limits, each set low enough to reach in a test. */
import { assert, assertEquals, assertNotEquals, assertRejects, assertStringIncludes } from "#assert";
import { denoEnvironment } from "../../local/stack/environment.ts";
import { type EdgeFunction, startFunction } from "../../local/emulators/functions/mod.ts";
import { type IsolateLimits, limitsSetting, platformLimits } from "../../local/emulators/functions/limits.ts";
import { fromFileUrl } from "../../local/paths.ts";

const script = fromFileUrl(new URL("./isolate_fixture.ts", import.meta.url));
const wide: IsolateLimits = {
  softCpuMs: 60_000,
  hardCpuMs: 60_000,
  memoryMb: 1024,
  wallMs: 600_000,
  firstByteMs: 60_000,
};

/** A running function with its log and its responses as text. */
async function started(limits: Partial<IsolateLimits> | null) {
  const logFile = await Deno.makeTempFile();
  const edge = await startFunction("test", denoEnvironment(), logFile, {
    script,
    limits: limits === null ? null : { ...wide, ...limits },
  });
  return {
    edge,
    ask: (path: string) => edge.fetch(new Request(`http://localhost/test/${path}`), `/test/${path}`),
    text: async (path: string) =>
      await (await edge.fetch(new Request(`http://localhost/test/${path}`), `/test/${path}`)).text(),
    logs: (line: string) =>
      until(`the line "${line}"`, async () => (await Deno.readTextFile(logFile)).includes(line)),
    async [Symbol.asyncDispose]() {
      await edge.stop();
      await Deno.remove(logFile);
    },
  };
}

async function until(what: string, done: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 20_000; !await done();) {
    assert(performance.now() < end, `${what} did not happen within 20 s`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
const isGone = (edge: EdgeFunction, pid: string) => () => !edge.pids().includes(Number(pid));

Deno.test("an isolate at its soft CPU limit accepts no new requests and finishes its current ones", async () => {
  await using run = await started({ softCpuMs: 300 });
  const slow = run.text("wait?ms=2500");
  const first = await run.text("burn?ms=500");
  await until("the takeover", async () => await run.text("pid") !== first);
  assertNotEquals(await run.text("pid"), first);
  assertEquals(await slow, first, "the request that was in flight got its answer from the retired isolate");
  await until("the end of the retired isolate", isGone(run.edge, first));
});

Deno.test("a retired isolate finishes its stream although another one was dropped in the middle of a read", async () => {
  await using run = await started({ softCpuMs: 300 });
  const dropped = (await run.ask("stream")).body?.getReader();
  await dropped?.read();
  const waiting = dropped?.read();
  await new Promise((resolve) => setTimeout(resolve, 5)); // until it waits for the next chunk
  await dropped?.cancel();
  await waiting;
  const kept = (await run.ask("stream")).body?.getReader();
  const first = await run.text("burn?ms=500");
  await until("the takeover", async () => await run.text("pid") !== first);
  // Half a second, in which it would be killed if it had nothing in flight.
  for (let chunks = 0; chunks < 25; chunks++) assertEquals((await kept?.read())?.done, false);
  assert(run.edge.pids().includes(Number(first)), "the retired isolate serves the stream");
  await kept?.cancel();
  await until("the end of the retired isolate", isGone(run.edge, first));
});

Deno.test("the next isolate starts before the soft limit is reached, so no request waits", async () => {
  await using run = await started({ softCpuMs: 1000 });
  const first = await run.text("burn?ms=600");
  await until("the next isolate", () => run.edge.pids().length === 2);
  assertEquals(await run.text("pid"), first, "below the limit the first isolate serves");
});

Deno.test("EdgeRuntime.waitUntil keeps a retired isolate alive until the work ends", async () => {
  await using run = await started({ softCpuMs: 200 });
  assertEquals(await run.text("later?ms=1500"), "object");
  const since = performance.now();
  const first = await run.text("burn?ms=400");
  await until("the end of the retired isolate", isGone(run.edge, first));
  assert(performance.now() - since > 1000, `it ended after ${performance.now() - since} ms`);
});

Deno.test("an isolate at its hard CPU limit is killed, including its streams", async () => {
  await using run = await started({ softCpuMs: 300, hardCpuMs: 600 });
  const stream = await run.ask("stream");
  const waiting = run.ask("wait?ms=20000");
  const answer = await run.ask("burn?ms=20000");
  assertEquals([answer.status, (await answer.json()).code], [546, "WORKER_LIMIT"]);
  assertEquals((await waiting).status, 546);
  await assertRejects(() => stream.text());
  assertEquals((await run.ask("pid")).status, 200, "the next isolate serves");
  await run.logs("test was killed: its limit of cpu was reached");
});

Deno.test("an isolate over its memory limit is killed", async () => {
  await using run = await started({ memoryMb: 128 });
  assertEquals((await run.ask("grow?mb=64")).status, 200);
  assertEquals((await run.ask("grow?mb=320")).status, 546);
  await run.logs("its limit of memory was reached");
});

Deno.test("an isolate retires after half its wall clock, and beforeunload fires before the end", async () => {
  await using run = await started({ wallMs: 6000 });
  const first = await run.text("pid");
  const stream = run.text("stream");
  const waiting = run.ask("wait?ms=20000");
  await until("the takeover", async () => await run.text("pid") !== first);
  assertStringIncludes(await stream, "bye", "the stream was ended by the function, not cut");
  assertEquals((await waiting).status, 546);
  await run.logs("its limit of wall_clock was reached");
});

Deno.test("a request without a first byte in time is a 504, and the isolate continues", async () => {
  await using run = await started({ firstByteMs: 300 });
  const first = await run.text("pid");
  assertEquals((await run.ask("wait?ms=1000")).status, 504);
  assertEquals(await run.text("pid"), first);
});

Deno.test("a crashed function restarts while a request waits for it", async () => {
  await using run = await started({});
  const first = await run.text("pid");
  Deno.kill(Number(first), "SIGKILL");
  await until("the end", isGone(run.edge, first));
  assertNotEquals(await run.text("pid"), first);
});

Deno.test("without limits an isolate serves indefinitely", async () => {
  await using run = await started(null);
  const first = await run.text("burn?ms=2500");
  assertEquals([await run.text("pid"), await run.text("later?ms=1")], [first, "undefined"]);
});

Deno.test("TUNEBASE_FUNCTION_LIMITS=off disables the limits, which are on by default", () => {
  assertEquals([limitsSetting(""), limitsSetting("on"), limitsSetting("off")], [
    platformLimits,
    platformLimits,
    null,
  ]);
  let message = "";
  try {
    limitsSetting("maybe");
  } catch (error) {
    message = String(error);
  }
  assertStringIncludes(message, "TUNEBASE_FUNCTION_LIMITS=maybe must be on or off.");
});
