import { platform } from "../_shared/platform.ts";
import { createApp } from "./app.ts";
Deno.serve(createApp(platform("TUNEBASE_CALLBACK_DB_URL")).fetch);
