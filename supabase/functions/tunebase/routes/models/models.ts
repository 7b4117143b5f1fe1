/** GET /models, GET and DELETE /models/{id}: base models and the project's fine-tuned models. Lists are not paginated. */
import * as z from "zod";
import { wakeScheduler } from "../../../_shared/wake_scheduler.ts";
import { rpc } from "../../../_shared/database/rpc.ts";
import type { ApiContext } from "../../context.ts";
import { renderFineTune, renderModel } from "../../serializers/fine_tuning.ts";
import { FineTuneRow, OfferedModelRow } from "../../rows.ts";
import { defineRoute } from "../define.ts";

const Models = z.object({ offered: z.array(OfferedModelRow), own: z.array(FineTuneRow) });
const Model = z.union([z.object({ own: FineTuneRow }), z.object({ offered: OfferedModelRow })]);

async function listModels(c: ApiContext): Promise<Response> {
  const { db } = c.get("platform");
  const { offered, own } = await rpc(db, "list_models", { caller: c.get("caller") }, Models);
  const data = [...offered.map(renderModel), ...own.map(renderFineTune)];
  return c.json({
    object: "list" as const,
    data,
    has_more: false,
    first_id: data.at(0)?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
  });
}

async function getModel(c: ApiContext): Promise<Response> {
  const args = { caller: c.get("caller"), name: name(c) };
  const found = await rpc(c.get("platform").db, "find_model", args, Model);
  return c.json("own" in found ? renderFineTune(found.own) : renderModel(found.offered));
}

/** Only fine-tuned models can be deleted. The scheduler deletes their files. */
async function deleteModel(c: ApiContext): Promise<Response> {
  const { db, settings, waitUntil } = c.get("platform");
  await rpc(db, "delete_model", { caller: c.get("caller"), name: name(c) });
  waitUntil(wakeScheduler(settings));
  return c.json({ id: name(c), object: "model" as const, deleted: true });
}

/** Ids contain colons and slashes, which clients may or may not escape. */
const name = (c: ApiContext) => c.req.param("id") ?? "";

export const routes = [
  defineRoute({
    method: "GET",
    path: "/models",
    id: "listModels",
    summary: "List base models and your fine-tuned models",
    scope: "models:read",
    response: "Model[]",
    handler: listModels,
  }),
  defineRoute({
    method: "GET",
    path: "/models/{id}",
    slashes: true,
    id: "getModel",
    summary: "Get a model",
    scope: "models:read",
    response: "Model",
    errors: ["model_not_found"],
    handler: getModel,
  }),
  defineRoute({
    method: "DELETE",
    path: "/models/{id}",
    slashes: true,
    id: "deleteModel",
    summary: "Delete a fine-tuned model and its files",
    scope: "jobs:write",
    response: "Deleted",
    errors: ["model_not_found", "model_not_own", "model_in_use"],
    handler: deleteModel,
  }),
];
