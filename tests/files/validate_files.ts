/** One step of the scheduler's file validation, in a separate process that can be killed. */
import { platform } from "../../supabase/functions/_shared/platform.ts";
import { validateFiles } from "../../supabase/functions/tunebase-scheduler/file_validation/validate_files.ts";

const made = platform("TUNEBASE_SCHEDULER_DB_URL");
made.waitUntil = () => {};
console.log("begins");
console.log(await validateFiles(made));
await made.db.close();
