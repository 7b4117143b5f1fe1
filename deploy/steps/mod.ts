/** The steps of a deployment, in order: database, functions, workers, so that jobs keep running during an upgrade. */
import type { Step } from "../step.ts";
import { models } from "./models.ts";
import { owner } from "./owner.ts";
import { runpodInference } from "./runpod_inference.ts";
import { runpodRegistry } from "./runpod_registry.ts";
import { runpodTrainer } from "./runpod_trainer.ts";
import { runpodVolume } from "./runpod_volume.ts";
import { supabaseData } from "./supabase_data.ts";
import { supabaseExtensions } from "./supabase_extensions.ts";
import { supabaseFunctions } from "./supabase_functions.ts";
import { supabaseMasterKey } from "./supabase_master_key.ts";
import { supabaseMigrations } from "./supabase_migrations.ts";
import { supabaseProject } from "./supabase_project.ts";
import { supabaseSecrets } from "./supabase_secrets.ts";
import { supabaseSettings } from "./supabase_settings.ts";
import { supabaseTimer } from "./supabase_timer.ts";
import { tokenizers } from "./tokenizers.ts";

export const steps: Step[] = [
  supabaseProject,
  supabaseExtensions,
  supabaseMigrations,
  supabaseData,
  supabaseMasterKey,
  supabaseSettings,
  supabaseSecrets,
  supabaseFunctions,
  supabaseTimer,
  runpodRegistry,
  runpodVolume,
  runpodTrainer,
  runpodInference,
  models,
  tokenizers,
  owner,
];
