/** A RunPod with the failure modes of the public one; its answers follow from the command's seed. */
import * as z from "zod";
import { RunInput } from "../../supabase/functions/_shared/protocol.ts";
import type { Run, Status, Worker } from "./model.ts";
import { mix, Random } from "./random.ts";
import type { Environment } from "./environment.ts";

const Body = z.object({
  input: RunInput,
  webhook: z.string(),
  policy: z.object({ executionTimeout: z.number(), ttl: z.number() }),
});
const keptMs = 30 * 60_000;

export const isOver = (run: Run): boolean => !["IN_QUEUE", "IN_PROGRESS"].includes(run.status);

export class UnreliableRunpod {
  readonly runs: Run[] = [];

  constructor(private readonly env: Environment) {}

  /** Runs that may still get a worker. */
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
    const random = new Random(mix(this.env.seed, run?.key ?? 0));
    return operation === "cancel" ? this.#cancel(run, random) : this.#status(run, random);
  }

  #run({ input, webhook, policy }: z.infer<typeof Body>): Response {
    const id = /\/attempts\/([0-9a-f-]{36})$/.exec(input.callback_url ?? "")?.[1] ?? "";
    const attempt = this.env.attempts.get(id);
    if (attempt === undefined) {
      this.env.reportProblem(`duplicate: /run for attempt ${id}, which was never claimed for dispatch`);
      throw new TypeError("Connection refused");
    }
    const random = new Random(mix(this.env.seed, attempt.key));
    const behavior = this.env.faultsDisabled ? "accepted" : random.weighted({
      "accepted": 72,
      "429": 6,
      "connection refused": 4,
      "400 to 404": 2,
      "500": 3,
      "reset": 3,
      "502 after accepting": 4,
      "timeout after accepting": 4,
      "no id": 2,
    });
    if (behavior !== "accepted") this.env.note(`  RunPod on /run of ${attempt.id}: ${behavior}`);
    switch (behavior) {
      case "429": {
        const headers = random.chance(0.7) ? { "retry-after": String(5 + random.below(60)) } : undefined;
        return new Response("slow down", { status: 429, headers });
      }
      case "connection refused":
        throw new TypeError("error sending request: tcp connect error: Connection refused (os error 111)");
      case "400 to 404":
        attempt.job.reasons.add("configuration");
        return new Response("no", { status: 400 + random.below(5) });
      case "500":
        return new Response("broken", { status: 500 });
      case "reset":
        throw new TypeError("error sending request: connection reset by peer");
    }
    attempt.started++;
    if (attempt.started > 1) {
      this.env.reportProblem(`duplicate: attempt ${id} was sent to RunPod ${attempt.started} times`);
    }
    const now = this.env.now();
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
    switch (behavior) {
      case "502 after accepting":
        return new Response("<html>bad gateway</html>", { status: 502 });
      case "timeout after accepting":
        throw new DOMException("Signal timed out.", "TimeoutError");
      case "no id":
        return Response.json({ status: "IN_QUEUE" });
    }
    return Response.json({ id: run.id, status: run.status });
  }

  #status(run: Run | undefined, random: Random): Response {
    if (run === undefined || run.gone) return Response.json({ error: "job not found" }, { status: 404 });
    const behavior = this.env.faultsDisabled ? "true" : random.weighted({
      "true": 80,
      "unknown status": 4,
      "500": 4,
      "reset": 4,
      "404 for an existing run": 3,
      "HTML page": 3,
    });
    if (behavior !== "true") this.env.note(`  RunPod on /status of ${run.id}: ${behavior}`);
    switch (behavior) {
      case "unknown status":
        return Response.json({ id: run.id, status: random.any(["PENDING", "RUNNING?", "", "undefined"]) });
      case "500":
        return new Response("broken", { status: 500 });
      case "reset":
        throw new TypeError("error sending request: connection reset by peer");
      case "404 for an existing run":
        return Response.json({ error: "job not found" }, { status: 404 });
      case "HTML page":
        return new Response("<html>maintenance</html>");
    }
    return Response.json(shown(run));
  }

  #cancel(run: Run | undefined, random: Random): Response {
    if (run === undefined || run.gone) return Response.json({ error: "job not found" }, { status: 404 });
    const behavior = this.env.faultsDisabled
      ? "done"
      : random.weighted({ "done": 70, "not honoured": 15, "500": 8, "reset": 7 });
    if (behavior !== "done") this.env.note(`  RunPod on /cancel of ${run.id}: ${behavior}`);
    if (behavior === "500") return new Response("broken", { status: 500 });
    if (behavior === "reset") throw new TypeError("error sending request: connection reset by peer");
    if (behavior === "done" && !isOver(run)) this.endRun(run, "CANCELLED", null, null);
    return Response.json({ id: run.id, status: "CANCELLED" });
  }

  #health(): Response {
    const random = new Random(mix(this.env.seed, 11));
    if (!this.env.faultsDisabled && random.chance(0.2)) return new Response("broken", { status: 500 });
    const kind = random.any(["idle", "initializing", "running", "throttled", "unhealthy", "none"]);
    return Response.json({ jobs: { inQueue: 1 }, workers: { [kind]: 1 } });
  }

  /** Ends a run. Kills its workers unless one of them ended it, and queues RunPod's webhook. */
  endRun(
    run: Run,
    status: Status,
    output: Record<string, unknown> | null,
    error: string | null,
    by?: Worker,
  ): void {
    if (isOver(run)) return;
    Object.assign(run, { status, output, error, endedAt: this.env.now() });
    run.attempt.job.reasons.add(status);
    if (typeof output?.error_code === "string") run.attempt.job.reasons.add(output.error_code);
    if (by === undefined) this.kill(run);
    const text = JSON.stringify({ ...shown(run), webhook: run.webhook, input: {} });
    this.env.messages.push({
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
      this.env.crashes.workers++;
    }
  }

  /** Ends runs at their time limit, and deletes them at their ttl or half an hour after they ended. */
  expireRuns(): void {
    const now = this.env.now();
    for (const run of this.runs) {
      if (run.gone) continue;
      if (!isOver(run) && run.startedAt !== null && now > run.startedAt + run.executionTimeout) {
        this.endRun(run, "TIMED_OUT", null, "executionTimeout exceeded");
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
