/**
 * What cron and nudges wake: enforces caps, dispatches what is due, looks after what has gone quiet, delivers, checks
 * files, sweeps.
 */
import { Hono } from "hono";
import { nudgeScheduler } from "../_shared/addresses.ts";
import { rpc } from "../_shared/database/rpc.ts";
import { ApiError } from "../_shared/errors.ts";
import type { Platform } from "../_shared/platform.ts";
import { deriveSecret, sameSecret } from "../_shared/secrets.ts";
import { serveApp } from "../_shared/serving.ts";
import { CpuBudget } from "./cpu_budget.ts";
import { Deliverer } from "./deliver.ts";
import { dispatch } from "./dispatch.ts";
import { mostLooks, reconcile } from "./reconcile.ts";
import { Runpod } from "./runpod.ts";
import { sweep } from "./sweep.ts";
import { validateFiles } from "./validate.ts";

/** The app as a value: `createApp(platform).fetch(request)`. */
export function createApp(platform: Platform): Hono {
  const app = new Hono().basePath("/tunebase-scheduler");
  serveApp(app, "tunebase-scheduler", platform);
  const runpod = new Runpod(platform.settings);
  const deliverer = new Deliverer(platform);
  /** Ticks under way in this isolate, and whether one of them has left work that is due. */
  let running = 0;
  let isMoreDue = false;
  app.post("/tick", async function tick(c) {
    const given = (c.req.header("authorization") ?? "").replace(/^Bearer /, "");
    if (!await sameSecret(given, deriveSecret(platform.settings.masterKey, "scheduler"))) {
      throw new ApiError("invalid_token", [{
        param: null,
        message: "Only the timer and Tunebase itself may call this.",
      }]);
    }
    const budget = new CpuBudget();
    running += 1;
    try {
      return c.json(await work(budget));
    } finally {
      running -= 1;
      // Chains of ticks that wake each other merge: the last one here wakes the next.
      if (running === 0 && isMoreDue) {
        isMoreDue = false;
        platform.later(nudgeScheduler(platform.settings));
      }
    }
  });
  async function work(budget: CpuBudget) {
    // Caps first, so that nothing is paid for that must not be. Then side by side: neither a queue that drains, nor a
    // RunPod that hangs, nor a slow receiver of webhooks holds anything else up.
    const overspent = await rpc(platform.db, "enforce_spend", {});
    const [dispatched, looked, { owed, sent }, swept, validated] = await Promise.all([
      dispatch(platform, runpod, budget),
      reconcile(platform, runpod, budget),
      deliverer.tick(budget),
      sweep(platform),
      validateFiles(platform, budget),
    ]);
    isMoreDue ||= budget.isOver || looked === mostLooks;
    return { overspent, dispatched, looked, owed, sent, swept, validated };
  }
  return app;
}
