/**
 * Calling models: the API's overhead over the engine's own time, and many streams through one API process. The engine is a
 * fake in this process that generates tokens at a fixed rate.
 */
import { startFunction } from "../local/emulators/functions/mod.ts";
import { join } from "../local/paths.ts";
import { cpuMs } from "./cpu_meter.ts";
import { type BenchStack, startBenchStack } from "./harness.ts";
import { percentile, type RawMeasurement, type Size } from "./results.ts";

const model = "SmolLM2-135M-Instruct";
const overheadSizes = { full: { calls: 100 }, short: { calls: 2 } };
const overheadPace = { firstMs: 150, tokenMs: 15, tokens: 64 };
const streamSizes = { full: { streams: 200, tokens: 400 }, short: { streams: 8, tokens: 10 } };
const streamPace = { firstMs: 150, tokenMs: 50 };
const limits = { p50: 1.1, p99: 1.3, stallMs: 1000, growthMiB: 32 };

interface Pace {
  firstMs: number;
  tokenMs: number;
  tokens: number;
}

interface Service {
  bench: BenchStack;
  /** The addresses of the engine and of the API. */
  engine: URL;
  api: URL;
  pid: () => number;
}

/** Runs `measure` with an API process in front of an engine with that rate. */
async function withService<T>(pace: Pace, measure: (service: Service) => Promise<T>): Promise<T> {
  const bench = await startBenchStack({ cronSeconds: 3600 });
  const engine = startEngine(pace);
  const { functionEnv, home } = bench.stack;
  const edge = await startFunction(
    "tunebase",
    { ...functionEnv, TUNEBASE_INFERENCE_URL: `http://127.0.0.1:${engine.addr.port}/{endpoint}` },
    join(home, "logs/bench-api.log"),
  );
  try {
    return await measure({
      bench,
      engine: new URL(`http://127.0.0.1:${engine.addr.port}/local-inference/v1/chat/completions`),
      api: new URL(`http://127.0.0.1:${edge.port}/tunebase/chat/completions`),
      pid: () => edge.pids()[0] ?? NaN,
    });
  } finally {
    await edge.stop();
    await engine.shutdown();
    await bench.close();
  }
}

function startEngine({ firstMs, tokenMs, tokens }: Pace): Deno.HttpServer<Deno.NetAddr> {
  const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
  async function* events(served: unknown): AsyncGenerator<string> {
    const chunk = (choices: unknown[], count: number) =>
      `data: ${
        JSON.stringify({
          id: "chatcmpl-engine",
          object: "chat.completion.chunk",
          created: 1,
          model: served,
          choices,
          usage: { prompt_tokens: 9, completion_tokens: count, total_tokens: 9 + count },
        })
      }\n\n`;
    await pause(firstMs);
    const began = performance.now();
    for (let n = 1; n <= tokens; n++) {
      yield chunk([{ index: 0, delta: { content: ` word${n}` }, logprobs: null, finish_reason: null }], n);
      await pause(Math.max(0, began + n * tokenMs - performance.now()));
    }
    yield chunk([], tokens);
    yield "data: [DONE]\n\n";
  }
  return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    const { model } = await request.json();
    return new Response(ReadableStream.from(events(model)).pipeThrough(new TextEncoderStream()), {
      headers: { "content-type": "text/event-stream" },
    });
  });
}

const body = JSON.stringify({
  model,
  messages: [{ role: "user", content: "How is it?" }],
  stream: true,
  max_completion_tokens: 512,
});

/** The times of the first and the last token of one answer, and the longest pause between two tokens. */
async function ask(url: URL, key: string): Promise<{ first: number; last: number; stall: number }> {
  const began = performance.now();
  const response = await fetch(url, { method: "POST", body, headers: { authorization: `Bearer ${key}` } });
  if (!response.ok || response.body === null) throw new Error(`${response.status} ${await response.text()}`);
  let first = 0;
  let last = began;
  let stall = 0;
  let isDone = false;
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    const now = performance.now();
    if (first === 0 && text.includes('"content"')) first = now - began;
    else if (first > 0) stall = Math.max(stall, now - last);
    last = now;
    isDone ||= text.includes("[DONE]");
  }
  if (!isDone) throw new Error("the answer is not complete");
  return { first, last: last - began, stall };
}

/** Time to the first and the last token through the API, against the engine directly. */
export const chatOverhead = (log: (line: string) => void, size: Size): Promise<RawMeasurement[]> =>
  withService(overheadPace, async ({ bench, engine, api }) => {
    const key = bench.openai.apiKey ?? "";
    const direct: Awaited<ReturnType<typeof ask>>[] = [];
    const through: Awaited<ReturnType<typeof ask>>[] = [];
    await ask(api, key); // loads the route
    for (let n = 0; n < overheadSizes[size].calls; n++) {
      direct.push(await ask(engine, key));
      through.push(await ask(api, key));
    }
    return (["first", "last"] as const).flatMap((which) =>
      ([["p50", 0.5, limits.p50], ["p99", 0.99, limits.p99]] as const).map(([name, share, limit]) => {
        const [mine, baseline] = [through, direct].map((all) =>
          percentile(all.map((one) => one[which]), share)
        );
        if (mine === undefined || baseline === undefined) throw new Error("nothing was measured");
        log(`${which} token ${name}: ${mine.toFixed(1)} ms, ${baseline.toFixed(1)} ms directly`);
        return {
          value: mine,
          unit: `ms ${name} to the ${which} token through the API`,
          against: `${limit} times the engine directly, ${baseline.toFixed(1)} ms`,
          ratio: limit * baseline / mine,
          goal: 1,
        };
      })
    );
  });

/** Concurrent streams through one process: the longest pause, CPU time, and memory. */
export const chatStreams = (log: (line: string) => void, size: Size): Promise<RawMeasurement[]> => {
  const { streams, tokens } = streamSizes[size];
  return withService({ ...streamPace, tokens }, async ({ bench, api, pid }) => {
    const key = bench.openai.apiKey ?? "";
    await bench.stack.sql`update tunebase.projects set spend_cap_usd = null`;
    await ask(api, key); // loads the route
    const cpuBefore = cpuMs(pid());
    const answers = Array.from({ length: streams }, () => ask(api, key));
    await new Promise((resolve) => setTimeout(resolve, streamPace.tokenMs * tokens / 4));
    const memoryBefore = residentMiB(pid());
    await new Promise((resolve) => setTimeout(resolve, streamPace.tokenMs * tokens / 2));
    const growth = residentMiB(pid()) - memoryBefore;
    const stall = Math.max(...(await Promise.all(answers)).map((one) => one.stall));
    const cpu = (cpuMs(pid()) - cpuBefore) / (streams * tokens) * 1000;
    log(
      `longest pause ${stall.toFixed(0)} ms; ${cpu.toFixed(1)} ms of CPU per 1,000 chunks; ${
        growth.toFixed(1)
      } MiB`,
    );
    return [{
      value: stall,
      unit: `ms, the longest pause in ${streams} streams`,
      against: `the limit, ${limits.stallMs} ms`,
      ratio: limits.stallMs / stall,
      goal: 1,
    }, {
      value: cpu,
      unit: "ms of CPU per 1,000 chunks",
      against: "the platform's limit for one request, 2,000 ms",
      ratio: 2000 / cpu,
      goal: 1,
    }, {
      value: growth,
      unit: `MiB of memory that the middle half of ${streams} streams added`,
      against: `the limit, ${limits.growthMiB} MiB`,
      ratio: limits.growthMiB / Math.max(growth, 1),
      goal: 1,
    }];
  });
};

/** The resident memory of a process. */
function residentMiB(pid: number): number {
  return Number(/VmRSS:\s+(\d+) kB/.exec(Deno.readTextFileSync(`/proc/${pid}/status`))?.[1] ?? NaN) / 1024;
}
