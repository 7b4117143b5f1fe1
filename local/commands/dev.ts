/** `task dev`: runs the embedded stack and prints how to use it. Ctrl-C stops everything; the data is kept. */
import { type Account, ensureAccount } from "../stack/account.ts";
import { buildDashboard } from "./dashboard.ts";
import { cache, homeDirectory, portSetting, root } from "../state_dir.ts";
import { install } from "./install.ts";
import { join } from "../paths.ts";
import { startOnSupabase } from "../stack/on_supabase.ts";
import { startStack } from "../stack/mod.ts";
import { supabaseContainers } from "../stack/local_supabase.ts";

const help = `Runs the embedded stack: PostgreSQL, the functions, and emulators of Auth, Storage and RunPod.

  npx -y deno@2.9.6 task dev
  npx -y deno@2.9.6 task dev --supabase

Options:
  --supabase        on the real Supabase: starts its containers with the Supabase CLI, which needs Docker, and
                    emulates RunPod only

Settings (environment):
  TUNEBASE_PORT     the stack's one port, 54321 unless set; 0 for any that is free. With --supabase the port of
                    the dashboard and RunPod, 54330 unless set
  TUNEBASE_DB_PORT  PostgreSQL's, 54322 unless set
  TUNEBASE_HOME     where data, keys and logs are kept, .tunebase unless set; with --supabase in its
                    folder supabase
  TUNEBASE_INFERENCE_IDLE_SECONDS
                    the inference worker ends after this time without a request, 300 unless set
  TUNEBASE_FUNCTION_LIMITS
                    on unless set: the functions run under the platform's limits (CPU, memory, wall clock);
                    off lets them run as long as they like`;

const unknown = Deno.args.find((argument) => argument !== "--supabase");
if (unknown !== undefined) {
  console.log(unknown === "--help" ? help : `Unknown option ${unknown}.\n\n${help}`);
  Deno.exit(unknown === "--help" ? 0 : 2);
}

const log = (line: string) => console.log(line);
try {
  await install(log);
  const stack = await start();
  const stopped = Promise.withResolvers<void>();
  for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    Deno.addSignalListener(name, () => stopped.resolve());
  }
  const account = await ensureAccount(stack);
  console.log(nextSteps(stack.dashboardUrl, account));
  // In the background. Until it is built, its page says so.
  buildDashboard(log).catch((error) => log(`the dashboard could not be built: ${error.message}`));
  await stopped.promise;
  console.log("\nstopping …");
  await stack.stop();
  console.log("stopped; the data is kept (`task reset` removes it)");
  Deno.exit(0);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  Deno.exit(1);
}

async function start() {
  if (Deno.args.length === 0) {
    const stack = await startStack({ home: homeDirectory(), log });
    return { ...stack, dashboardUrl: `${stack.url}/dashboard/` };
  }
  const command = join(cache, "tools/node_modules/.bin/supabase");
  return await startOnSupabase({
    // Not the embedded stack's folder, whose keys and account differ.
    home: join(homeDirectory(), "supabase"),
    supabase: supabaseContainers(command),
    port: portSetting("TUNEBASE_PORT", 54330),
    log,
  });
}

function nextSteps(dashboardUrl: string, { baseUrl, apiKey, email, password }: Account): string {
  return `
Tunebase is up. Ctrl-C stops it.

  dashboard ${dashboardUrl}  (${email}, ${password})
  base URL  ${baseUrl}
  API key   ${apiKey}

With curl:

  export TUNEBASE_BASE_URL=${baseUrl} TUNEBASE_API_KEY=${apiKey}
  FILE=$(curl -s $TUNEBASE_BASE_URL/files -H "authorization: Bearer $TUNEBASE_API_KEY" \\
    -F purpose=fine-tune -F file=@${
    JSON.stringify(`${root}examples/support-train.jsonl`)
  } | sed 's/.*"id":"\\([^"]*\\)".*/\\1/')
  JOB=$(curl -s $TUNEBASE_BASE_URL/fine_tuning/jobs -H "authorization: Bearer $TUNEBASE_API_KEY" \\
    -H "content-type: application/json" \\
    -d "{\\"model\\":\\"SmolLM2-135M-Instruct\\",\\"training_file\\":\\"$FILE\\"}" | sed 's/{"id":"\\([^"]*\\)".*/\\1/')
  curl -s $TUNEBASE_BASE_URL/fine_tuning/jobs/$JOB -H "authorization: Bearer $TUNEBASE_API_KEY"
  curl -s "$TUNEBASE_BASE_URL/fine_tuning/jobs/$JOB/events?limit=5" -H "authorization: Bearer $TUNEBASE_API_KEY"

With the OpenAI SDK (Python; npm's takes baseURL and apiKey):

  from openai import OpenAI
  client = OpenAI(base_url=${JSON.stringify(baseUrl)}, api_key=${JSON.stringify(apiKey)})
  print(client.models.list())
  print(client.fine_tuning.jobs.list())
`;
}
