/** One step of the scheduler's check of files, as a process of its own that can be killed. */
import { platform } from "../../supabase/functions/_shared/platform.ts";
import { validateFiles } from "../../supabase/functions/tunebase-scheduler/file_validation/validate_files.ts";

const made = platform("TUNEBASE_SCHEDULER_DB_URL");
made.waitUntil = () => {};
console.log("begins");
console.log(await validateFiles(made));
await made.db.close();
