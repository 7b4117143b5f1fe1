/** GET /models, GET /models/{id}: the base models that the operator offers. */
import { call } from "../../_shared/database.ts";
import type { Tables } from "../../_shared/database.types.ts";
import type { ApiContext } from "../context.ts";
import { renderList, renderModel } from "../render.ts";

type Model = Tables<"base_models">;

export async function listModels(c: ApiContext): Promise<Response> {
  const models = await call<Model[]>(c.get("platform").sql, "list_models", { json: c.get("caller") });
  return c.json(renderList({ data: models, has_more: false }, renderModel));
}

export async function getModel(c: ApiContext): Promise<Response> {
  const id = c.req.param("id") ?? "";
  const model = await call<Model>(
    c.get("platform").sql,
    "get_model",
    { json: c.get("caller") },
    id,
    "models:read",
  );
  return c.json(renderModel(model));
}
