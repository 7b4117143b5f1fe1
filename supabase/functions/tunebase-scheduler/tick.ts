/** What a tick does: enforces caps, dispatches what is due, looks after what has gone quiet, delivers, checks files, sweeps. */
import { wakeScheduler } from "../_shared/urls.ts";
import { rpc } from "../_shared/database/rpc.ts";
import { ApiError } from "../_shared/errors.ts";
import type { Platform } from "../_shared/platform.ts";
import { deriveSecret, timingSafeEqual } from "../_shared/secrets.ts";
import { CpuBudget } from "./cpu_budget.ts";
import { DeliverySender } from "./deliveries/sender.ts";
import { dispatch } from "./dispatch/dispatch.ts";
import { maxReconciledPerTick, reconcile } from "./reconcile/reconcile.ts";
import { Runpod } from "./runpod.ts";
import { cleanUp } from "./cleanup/cleanup.ts";
import { validateFiles } from "./file_validation/validate_files.ts";

/** Answers the timer and nudges, with what was done. One an isolate. */
export class Ticks {
  readonly #runpod: Runpod;
  readonly #deliverer: DeliverySender;
  /** Ticks under way in this isolate, and whether one of them has left work that is due. */
  #running = 0;
  #isMoreDue = false;

  constructor(private readonly platform: Platform) {
    this.#runpod = new Runpod(platform.settings);
    this.#deliverer = new DeliverySender(platform);
  }

  async answer(request: Request): Promise<Response> {
    const { platform } = this;
    const given = (request.headers.get("authorization") ?? "").replace(/^Bearer /, "");
    if (!await timingSafeEqual(given, deriveSecret(platform.settings.masterKey, "scheduler"))) {
      throw new ApiError("invalid_token", [{
        param: null,
        message: "Only the timer and Tunebase itself may call this.",
      }]);
    }
    const budget = new CpuBudget();
    this.#running += 1;
    try {
      return Response.json(await this.#work(budget));
    } finally {
      this.#running -= 1;
      // Chains of ticks that wake each other merge: the last one here wakes the next.
      if (this.#running === 0 && this.#isMoreDue) {
        this.#isMoreDue = false;
        platform.waitUntil(wakeScheduler(platform.settings));
      }
    }
  }

  async #work(budget: CpuBudget) {
    const { platform } = this;
    // Caps first, so that nothing is paid for that must not be. Then side by side: neither a queue that drains, nor a
    // RunPod that hangs, nor a slow receiver of webhooks holds anything else up.
    const overspent = await rpc(platform.db, "enforce_spend", {});
    const [dispatched, looked, { owed, sent }, swept, validated] = await Promise.all([
      dispatch(platform, this.#runpod, budget),
      reconcile(platform, this.#runpod, budget),
      this.#deliverer.tick(budget),
      cleanUp(platform),
      validateFiles(platform, budget),
    ]);
    this.#isMoreDue ||= budget.isOver || looked === maxReconciledPerTick;
    return { overspent, dispatched, looked, owed, sent, swept, validated };
  }
}
