/** A RunPod that behaves as badly as the public one is known to: what it says, does and forgets follows from the step. */
import * as z from "zod";
import { RunInput } from "../../supabase/functions/_shared/protocol.ts";
import type { Run, Status, Worker } from "./model.ts";
import { mix, Random } from "./random.ts";
import type { World } from "./environment.ts";

const Body = z.object({
  input: RunInput,
  webhook: z.string(),
  policy: z.object({ executionTimeout: z.number(), ttl: z.number() }),
});
const keptMs = 30 * 60_000;

export const isOver = (run: Run): boolean => !["IN_QUEUE", "IN_PROGRESS"].includes(run.status);

export class BadRunpod {
  readonly runs: Run[] = [];

  constructor(private readonly world: World) {}

  /** Runs that a worker may still be given. */
  get open(): Run[] {
    return this.runs.filter((run) => !run.gone && !isOver(run));
  }

  async fetch(request: Request): Promise<Response> {
    const [, operation = "", id = ""] =
      /^\/runpod\/v2\/[^/]+\/(\w+)\/?(.*)$/.exec(new URL(request.url).pathname) ??
        [];
    if (operation === "run") return this.#run(Body.parse(await request.json()));
    if (operation === "health") return this.#health();
    const run = this.runs.find((one) => one.id === id);
    const chance = new Random(mix(this.world.seed, run?.key ?? 0));
    return operation === "cancel" ? this.#cancel(run, chance) : this.#status(run, chance);
  }

  #run({ input, webhook, policy }: z.infer<typeof Body>): Response {
    const id = /\/attempts\/([0-9a-f-]{36})$/.exec(input.callback_url ?? "")?.[1] ?? "";
    const attempt = this.world.attempts.get(id);
    if (attempt === undefined) {
      this.world.wrong(`doubled: /run for attempt ${id}, which no claim has made`);
      throw new TypeError("Connection refused");
    }
    const chance = new Random(mix(this.world.seed, attempt.key));
    const mood = this.world.honest ? "takes it" : chance.weighted({
      "takes it": 72,
      "429": 6,
      "connection refused": 4,
      "400 to 404": 2,
      "500": 3,
      "reset": 3,
      "502 after it took it": 4,
      "time-out after it took it": 4,
      "no id": 2,
    });
    if (mood !== "takes it") this.world.tell(`  RunPod on /run of ${attempt.id}: ${mood}`);
    switch (mood) {
      case "429": {
        const headers = chance.chance(0.7) ? { "retry-after": String(5 + chance.below(60)) } : undefined;
        return new Response("slow down", { status: 429, headers });
      }
      case "connection refused":
        throw new TypeError("error sending request: tcp connect error: Connection refused (os error 111)");
      case "400 to 404":
        attempt.job.reasons.add("configuration");
        return new Response("no", { status: 400 + chance.below(5) });
      case "500":
        return new Response("broken", { status: 500 });
      case "reset":
        throw new TypeError("error sending request: connection reset by peer");
    }
    attempt.started++;
    if (attempt.started > 1) {
      this.world.wrong(`doubled: attempt ${id} was sent to RunPod ${attempt.started} times`);
    }
    const now = this.world.now();
    const run: Run = {
      key: mix(attempt.key, 7),
      id: `run-${attempt.id}`,
      attempt,
      callbackUrl: input.callback_url ?? "",
      secret: input.callback_secret ?? "",
      webhook,
      status: "IN_QUEUE",
      error: null,
      output: null,
      gone: false,
      at: now,
      ttl: policy.ttl,
      executionTimeout: policy.executionTimeout,
      startedAt: null,
      endedAt: null,
      workers: [],
    };
    this.runs.push(run);
    switch (mood) {
      case "502 after it took it":
        return new Response("<html>bad gateway</html>", { status: 502 });
      case "time-out after it took it":
        throw new DOMException("Signal timed out.", "TimeoutError");
      case "no id":
        return Response.json({ status: "IN_QUEUE" });
    }
    return Response.json({ id: run.id, status: run.status });
  }

  #status(run: Run | undefined, chance: Random): Response {
    if (run === undefined || run.gone) return Response.json({ error: "job not found" }, { status: 404 });
    const mood = this.world.honest ? "true" : chance.weighted({
      "true": 80,
      "a word that nobody knows": 4,
      "500": 4,
      "reset": 4,
      "404 of a run that it has": 3,
      "a page": 3,
    });
    if (mood !== "true") this.world.tell(`  RunPod on /status of ${run.id}: ${mood}`);
    switch (mood) {
      case "a word that nobody knows":
        return Response.json({ id: run.id, status: chance.any(["PENDING", "RUNNING?", "", "undefined"]) });
      case "500":
        return new Response("broken", { status: 500 });
      case "reset":
        throw new TypeError("error sending request: connection reset by peer");
      case "404 of a run that it has":
        return Response.json({ error: "job not found" }, { status: 404 });
      case "a page":
        return new Response("<html>maintenance</html>");
    }
    return Response.json(shown(run));
  }

  #cancel(run: Run | undefined, chance: Random): Response {
    if (run === undefined || run.gone) return Response.json({ error: "job not found" }, { status: 404 });
    const mood = this.world.honest
      ? "done"
      : chance.weighted({ "done": 70, "not honoured": 15, "500": 8, "reset": 7 });
    if (mood !== "done") this.world.tell(`  RunPod on /cancel of ${run.id}: ${mood}`);
    if (mood === "500") return new Response("broken", { status: 500 });
    if (mood === "reset") throw new TypeError("error sending request: connection reset by peer");
    if (mood === "done" && !isOver(run)) this.over(run, "CANCELLED", null, null);
    return Response.json({ id: run.id, status: "CANCELLED" });
  }

  #health(): Response {
    const chance = new Random(mix(this.world.seed, 11));
    if (!this.world.honest && chance.chance(0.2)) return new Response("broken", { status: 500 });
    const kind = chance.any(["idle", "initializing", "running", "throttled", "unhealthy", "none"]);
    return Response.json({ jobs: { inQueue: 1 }, workers: { [kind]: 1 } });
  }

  /** A run ends. Its workers are killed unless they ended it themselves; RunPod calls the webhook, mostly. */
  over(
    run: Run,
    status: Status,
    output: Record<string, unknown> | null,
    error: string | null,
    by?: Worker,
  ): void {
    if (isOver(run)) return;
    Object.assign(run, { status, output, error, endedAt: this.world.now() });
    run.attempt.job.reasons.add(status);
    if (typeof output?.error_code === "string") run.attempt.job.reasons.add(output.error_code);
    if (by === undefined) this.kill(run);
    const text = JSON.stringify({ ...shown(run), webhook: run.webhook, input: {} });
    this.world.messages.push({
      key: mix(run.key, 3),
      name: "webhook",
      url: run.webhook,
      text,
      body: {},
      secret: null,
      id: "",
      signedAt: 0,
      attempt: run.attempt,
      worker: null,
      forged: false,
    });
  }

  kill(run: Run): void {
    for (const worker of run.workers.filter(({ alive }) => alive)) {
      worker.alive = false;
      this.world.crashes.workers++;
    }
  }

  /** What time does to runs: they are deleted at their ttl, ended at their time limit, forgotten after half an hour. */
  age(): void {
    const now = this.world.now();
    for (const run of this.runs) {
      if (run.gone) continue;
      if (!isOver(run) && run.startedAt !== null && now > run.startedAt + run.executionTimeout) {
        this.over(run, "TIMED_OUT", null, "executionTimeout exceeded");
      }
      if (now > run.at + run.ttl || (run.endedAt !== null && now > run.endedAt + keptMs)) {
        run.gone = true;
        this.kill(run);
      }
    }
  }
}

function shown(run: Run): Record<string, unknown> {
  return {
    id: run.id,
    status: run.status,
    delayTime: 1,
    ...(run.output === null ? {} : { output: run.output }),
    ...(run.error === null ? {} : { error: run.error }),
  };
}
