/** The steps of a deployment, in order: the database, then the functions, then the workers, so that an upgrade keeps jobs running. */
import type { Step } from "../step.ts";
import { owner } from "./owner.ts";
import { supabaseData } from "./supabase_data.ts";
import { supabaseExtensions } from "./supabase_extensions.ts";
import { supabaseFunctions } from "./supabase_functions.ts";
import { supabaseMasterKey } from "./supabase_master_key.ts";
import { supabaseMigrations } from "./supabase_migrations.ts";
import { supabaseProject } from "./supabase_project.ts";
import { supabaseSecrets } from "./supabase_secrets.ts";
import { supabaseSettings } from "./supabase_settings.ts";
import { supabaseTimer } from "./supabase_timer.ts";

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
  owner,
];
