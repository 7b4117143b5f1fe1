/** GET /models, GET and DELETE /models/{id}: the base models on offer, and the project's own fine-tunes. One page. */
import { nudgeScheduler } from "../../_shared/addresses.ts";
import { call } from "../../_shared/database.ts";
import type { Tables } from "../../_shared/database.types.ts";
import type { ApiContext } from "../context.ts";
import { type FineTuneRow, renderFineTune, renderModel } from "../render.ts";

type BaseModel = Tables<"base_models">;

export async function listModels(c: ApiContext): Promise<Response> {
  const { offered, own } = await call<{ offered: BaseModel[]; own: FineTuneRow[] }>(
    c.get("platform").sql,
    "list_models",
    { json: c.get("caller") },
  );
  const data = [...offered.map(renderModel), ...own.map(renderFineTune)];
  return c.json({
    object: "list" as const,
    data,
    has_more: false,
    first_id: data.at(0)?.id ?? null,
    last_id: data.at(-1)?.id ?? null,
  });
}

export async function getModel(c: ApiContext): Promise<Response> {
  const found = await call<{ offered: BaseModel } | { own: FineTuneRow }>(
    c.get("platform").sql,
    "find_model",
    { json: c.get("caller") },
    name(c),
  );
  return c.json("own" in found ? renderFineTune(found.own) : renderModel(found.offered));
}

/** Its files are removed by the scheduler. A base model is the operator's and stays. */
export async function deleteModel(c: ApiContext): Promise<Response> {
  const { sql, settings, later } = c.get("platform");
  await call<null>(sql, "delete_model", { json: c.get("caller") }, name(c));
  later(nudgeScheduler(settings));
  return c.json({ id: name(c), object: "model" as const, deleted: true });
}

/** Ids hold colons and slashes; the SDKs escape them, and people do not. */
const name = (c: ApiContext) => c.req.param("id") ?? "";
