/** Copies the models' tokenizers, with which the API counts tokens, from the hub to the bucket `tunebase-tokenizers`. */
import * as z from "zod";
import { buckets } from "../../supabase/functions/_shared/contracts/buckets.ts";
import { chosenModels, sourceOf } from "../catalog.ts";
import { DeployError } from "../errors.ts";
import { postToProject } from "../platforms/project.ts";
import { hubFile, hubModel } from "../hub.ts";
import { hasModelsTable, revisionOf } from "../revisions.ts";
import type { Context, Step } from "../step.ts";

const files = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];

export const tokenizers: Step = {
  id: "tokenizers",
  title: "Tokenizers",
  async plan(context) {
    return (await missing(context)).map(({ model, folder }) => ({
      action: "create",
      what: `tokenizer of ${model.name}, in ${buckets.tokenizers}/${folder}`,
    }));
  },
  async apply(context) {
    for (const { model, folder, revision } of await missing(context)) {
      const { source } = sourceOf(model, context.target.name);
      const token = context.settings.hubToken;
      const present = (await hubModel(source, token, revision)).siblings.map(({ rfilename }) => rfilename);
      for (const file of files.filter((name) => present.includes(name))) {
        await upload(context, `${folder}/${file}`, await hubFile(source, revision, file, token));
      }
      // Last, so that a folder that a row names is complete.
      await context.supabase.execute("update tunebase.base_models set tokenizer = $2 where id = $1", [
        model.name,
        folder,
      ]);
    }
  },
};

/** The models whose row names no folder, or that of another revision. Keeps folders that the operator has set. */
async function missing(context: Context) {
  const { settings, state, supabase, target } = context;
  const models = (await chosenModels(settings.models)).filter((model) =>
    model.tokenizer && !sourceOf(model, target.name).source.startsWith("package:")
  );
  const rows = state.project === null ? [] : await storedTokenizers(supabase);
  const wanted = await Promise.all(models.map(async (model) => {
    const revision = await revisionOf(context, model);
    return { model, revision, folder: `${model.id}/${revision.slice(0, 12)}` };
  }));
  return wanted.filter(({ model, folder }) => {
    const tokenizer = rows.find(({ id }) => id === model.name)?.tokenizer ?? null;
    return tokenizer === null || (tokenizer !== folder && tokenizer.startsWith(`${model.id}/`));
  });
}

async function storedTokenizers(supabase: Context["supabase"]) {
  if (!await hasModelsTable(supabase)) return [];
  return await supabase.query(
    "select id, tokenizer from tunebase.base_models",
    z.array(z.object({ id: z.string(), tokenizer: z.string().nullable() })),
  );
}

async function upload(context: Context, path: string, content: Uint8Array<ArrayBuffer>): Promise<void> {
  const object = `${buckets.tokenizers}/${path}`;
  const { ok, status, text } = await postToProject(context, `/storage/v1/object/${object}`, content, {
    "x-upsert": "true",
  });
  if (!ok) throw new DeployError(`Storage rejected ${object}: ${status} ${text}`, "Run the command again.");
}
