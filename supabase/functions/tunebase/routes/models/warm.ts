/** POST /models/{id}/warm: loads a model in advance, so that the first request does not have to wait. */
import { rpc } from "../../../_shared/database/rpc.ts";
import { ApiError } from "../../../_shared/errors.ts";
import type { ApiContext } from "../../context.ts";
import { askEngine } from "../../../_shared/inference/engine.ts";
import { serve, StartedInference } from "../../../_shared/inference/served_model.ts";
import type { WarmModel } from "../../openapi/objects/index.ts";
import { defineRoute } from "../define.ts";

/** The request to the engine starts a worker, which keeps loading when the request ends. */
const waitMs = 5_000;

async function warmModel(c: ApiContext): Promise<Response> {
  const platform = c.get("platform");
  const { db, settings } = platform;
  const args = { caller: c.get("caller"), name: c.req.param("id") ?? "" };
  const started = await rpc(db, "find_servable_model", args, StartedInference);
  const engine = { settings, started, served: await serve(platform, started) };
  const { name, cacheSalt } = engine.served;
  const body: WarmModel = { object: "model.warm", model: started.model, status: "ready" };
  try {
    const signal = AbortSignal.timeout(waitMs);
    const response = await askEngine(engine, "warm", { model: name, cache_salt: cacheSalt }, signal);
    await response.body?.cancel();
  } catch (error) {
    const isLoading = error instanceof ApiError
      ? error.code === "model_loading"
      : error instanceof DOMException && error.name === "TimeoutError";
    if (!isLoading) throw error;
    body.status = "loading";
  }
  return c.json(body, 202);
}

export const routes = [
  defineRoute({
    method: "POST",
    path: "/models/{id}/warm",
    slashes: true,
    id: "warmModel",
    summary: "Load a model in advance",
    description: "Returns after at most five seconds. Repeat it until `status` is `ready`.",
    scope: "inference",
    response: { 202: { description: "Whether it is ready", content: { "application/json": "WarmModel" } } },
    errors: [
      "model_not_found",
      "model_not_servable",
      "model_files_invalid",
      "project_archived",
      "inference_unavailable",
    ],
    handler: warmModel,
  }),
];
