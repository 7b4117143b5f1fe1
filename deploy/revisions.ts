/** The revision of each base model. The first deployment pins it, because adapters fit only the weights that they were trained on. */
import * as z from "zod";
import { type Model, sourceOf } from "./catalog.ts";
import { hasRelation } from "./database.ts";
import { currentRevision } from "./hub.ts";
import type { Context } from "./step.ts";

/** A model's pinned revision: from the state or the database, or else the hub's current one. Read-only. */
export async function revisionOf(context: Context, model: Model): Promise<string> {
  const { source, revision } = sourceOf(model, context.target.name);
  return revision ?? context.state.revisions[model.id] ?? await storedRevision(context, model, source) ??
    await currentRevision(source, context.settings.hubToken);
}

/** The same, and pins it in the state. */
export async function pinRevision(context: Context, model: Model): Promise<string> {
  return context.state.revisions[model.id] = await revisionOf(context, model);
}

async function storedRevision(
  { state, supabase }: Context,
  model: Model,
  source: string,
): Promise<string | null> {
  if (state.project === null) return null;
  if (!await hasModelsTable(supabase)) return null;
  const [row] = await supabase.query(
    "select revision from tunebase.base_models where id = $1 and source = $2",
    z.array(z.object({ revision: z.string().nullable() })),
    [model.name, source],
  );
  return row?.revision ?? null;
}

/** Whether the migrations have created `tunebase.base_models`. */
export const hasModelsTable = (supabase: Context["supabase"]): Promise<boolean> =>
  hasRelation(supabase, "tunebase.base_models");
