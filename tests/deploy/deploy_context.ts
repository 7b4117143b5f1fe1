/** The context of a deployment's steps, with an emulated RunPod account and a Supabase faked by the test. */
import { RunpodApi } from "../../deploy/platforms/runpod.ts";
import { SupabaseApi } from "../../deploy/platforms/supabase.ts";
import { State } from "../../deploy/state.ts";
import type { Context, Settings } from "../../deploy/step.ts";
import type { Target } from "../../deploy/target.ts";

export const masterKey = btoa("k".repeat(32));

export const settings: Settings = {
  profile: "default",
  project: { ref: "abcdefghijklmnopqrst" },
  models: ["smollm2-135m"],
  gpuPools: null,
  dataCenter: null,
  ownerEmail: null,
  exposeSchema: null,
  dashboardUrl: null,
  trainerImage: "ghcr.io/org/tunebase-trainer@sha256:aaa",
  inferenceImage: "ghcr.io/org/tunebase-inference@sha256:bbb",
  maxWorkers: 3,
  registry: null,
  hubToken: null,
};

export interface TestContext {
  runpodRest: string;
  /** Fakes Supabase's Management API and Storage; by default, the database has no tables. */
  supabase?: (request: Request) => Response | Promise<Response>;
  settings?: Partial<Settings>;
  state?: Partial<State>;
  target?: Target["name"];
  runpodKey?: string;
  /** Storage's address; by default, `supabase`. */
  projectUrl?: string;
}

/** A context whose state is saved in a temporary folder. Disposing it stops its Supabase. */
export function deployContext(options: TestContext): Context & AsyncDisposable {
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    options.supabase ?? (() => Response.json([{ exists: false }])),
  );
  const url = `http://127.0.0.1:${server.addr.port}`;
  const state = State.parse({
    version: 1,
    profile: "default",
    target: options.target ?? "emulators",
    project: "abcdefghijklmnopqrst",
    ...options.state,
  });
  const homeBefore = Deno.env.get("TUNEBASE_HOME");
  const home = Deno.makeTempDirSync();
  Deno.env.set("TUNEBASE_HOME", home);
  const runpodKey = options.runpodKey ?? "rpa_key";
  return {
    settings: { ...settings, ...options.settings },
    state,
    target: {
      name: options.target ?? "emulators",
      supabaseApi: url,
      runpodRest: options.runpodRest,
      runpodApi: `${url}/runpod/v2`,
      inferenceUrl: `${url}/runpod/lb/{endpoint}`,
      projectUrl: () => options.projectUrl ?? url,
      functionSecrets: {},
    },
    supabase: new SupabaseApi(url, "sbp_token", () => state.project),
    runpod: new RunpodApi(options.runpodRest, runpodKey),
    runpodKey,
    masterKey: () => Promise.resolve(masterKey),
    log: () => {},
    async [Symbol.asyncDispose]() {
      if (homeBefore === undefined) Deno.env.delete("TUNEBASE_HOME");
      else Deno.env.set("TUNEBASE_HOME", homeBefore);
      await Deno.remove(home, { recursive: true });
      await server.shutdown();
    },
  };
}
