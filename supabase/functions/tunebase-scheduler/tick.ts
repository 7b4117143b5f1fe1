/**
 * One tick: enforces spend caps, dispatches jobs, reconciles attempts, delivers events, validates files, evaluates models and
 * cleans up.
 */
import { wakeScheduler } from "../_shared/wake_scheduler.ts";
import { rpc } from "../_shared/database/rpc.ts";
import { ApiError } from "../_shared/errors.ts";
import type { Platform } from "../_shared/platform.ts";
import { deriveSecret, timingSafeEqual } from "../_shared/secrets.ts";
import { CpuBudget } from "./cpu_budget.ts";
import { DeliverySender } from "./deliveries/sender.ts";
import { dispatch } from "./dispatch/dispatch.ts";
import { evaluate } from "./evaluations/evaluate.ts";
import { maxReconciledPerTick, reconcile } from "./reconcile/reconcile.ts";
import { Runpod } from "./runpod.ts";
import { cleanUp } from "./cleanup/cleanup.ts";
import { validateFiles } from "./file_validation/validate_files.ts";

/** Handles POST /tick and returns what was done. One per isolate. */
export class Ticks {
  readonly #runpod: Runpod;
  readonly #sender: DeliverySender;
  /** Ticks running in this isolate, and whether one of them has left due work. */
  #running = 0;
  #isMoreDue = false;

  constructor(private readonly platform: Platform) {
    this.#runpod = new Runpod(platform.settings);
    this.#sender = new DeliverySender(platform);
  }

  async answer(request: Request): Promise<Response> {
    const { platform } = this;
    const given = (request.headers.get("authorization") ?? "").replace(/^Bearer /, "");
    if (!await timingSafeEqual(given, deriveSecret(platform.settings.masterKey, "scheduler"))) {
      throw new ApiError("invalid_token", [{
        param: null,
        message: "Only Tunebase's timer and its own functions can call this.",
      }]);
    }
    const budget = new CpuBudget();
    this.#running += 1;
    const startedAt = performance.now();
    try {
      const done = await this.#work(budget);
      await rpc(platform.db, "record_tick", { seconds: (performance.now() - startedAt) / 1000 });
      return Response.json(done);
    } finally {
      this.#running -= 1;
      // Only the last running tick wakes the next, so that chains of ticks merge.
      if (this.#running === 0 && this.#isMoreDue) {
        this.#isMoreDue = false;
        platform.waitUntil(wakeScheduler(platform.settings));
      }
    }
  }

  async #work(budget: CpuBudget) {
    const { platform } = this;
    // Caps first, so that no job over its cap is dispatched. Then everything concurrently, so that a long queue, a hanging
    // RunPod or a slow webhook receiver delays nothing else.
    const overspent = await rpc(platform.db, "enforce_spend", {});
    const [dispatched, reconciled, { fanned_out, sent }, deleted, validated, evaluated] = await Promise.all([
      dispatch(platform, this.#runpod, budget),
      reconcile(platform, this.#runpod, budget),
      this.#sender.tick(budget),
      cleanUp(platform),
      validateFiles(platform, budget),
      evaluate(platform, budget),
    ]);
    this.#isMoreDue ||= budget.isOver || reconciled === maxReconciledPerTick;
    return { overspent, dispatched, reconciled, fanned_out, sent, deleted, validated, evaluated };
  }
}
