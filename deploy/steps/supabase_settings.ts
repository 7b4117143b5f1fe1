/** The project's own settings. Each is changed only if the operator asks for it, because the host app uses them too. */
import { PlatformError } from "../platforms/request.ts";
import type { Change, Context, Step } from "../step.ts";

/** The maximum file size that Tunebase accepts by default. */
const fileSizeLimit = 8 * 2 ** 30;

export const supabaseSettings: Step = {
  id: "supabase-settings",
  title: "Project settings",
  async plan(context) {
    if (context.state.project === null) return wantedFirst(context);
    const { schemas, urls, raise } = await differences(context);
    const changes: Change[] = [];
    if (schemas !== null) {
      changes.push({ action: "update", what: "Data API", why: exposure(schemas.includes("tunebase")) });
    }
    if (urls !== null) {
      changes.push({
        action: "update",
        what: "Auth",
        why: `allows redirects to ${context.settings.dashboardUrl}`,
      });
    }
    if (raise) changes.push({ action: "update", what: "Storage", why: "accepts files of up to 8 GiB" });
    return changes;
  },
  async apply(context) {
    const { supabase, state, log } = context;
    const { schemas, urls, raise } = await differences(context);
    if (schemas !== null) await supabase.exposeSchemas(schemas);
    if (urls !== null) await supabase.setRedirectUrls(urls);
    if (!raise) return;
    try {
      await supabase.setFileSizeLimit(fileSizeLimit);
    } catch (error) {
      if (!(error instanceof PlatformError) || ![400, 402, 403, 422].includes(error.status)) throw error;
      state.fileSizeLimitRefused = true;
      const megabytes = Math.floor(await supabase.fileSizeLimit() / 2 ** 20);
      log(`Storage keeps its limit of ${megabytes} MB per file: ${error.message}`);
    }
  },
  async planRemoval({ supabase }) {
    return (await supabase.exposedSchemas()).includes("tunebase")
      ? [{ action: "update", what: "Data API", why: exposure(false) }]
      : [];
  },
  async remove({ supabase }) {
    const schemas = await supabase.exposedSchemas();
    if (schemas.includes("tunebase")) {
      await supabase.exposeSchemas(schemas.filter((name) => name !== "tunebase"));
    }
  },
};

const exposure = (isExposed: boolean) => `${isExposed ? "exposes" : "no longer exposes"} the schema tunebase`;

function wantedFirst({ settings }: Context): Change[] {
  const changes: Change[] = [];
  if (settings.exposeSchema) {
    changes.push({ action: "update", what: "Data API", why: exposure(true) });
  }
  if (settings.dashboardUrl !== null) {
    changes.push({ action: "update", what: "Auth", why: `allows redirects to ${settings.dashboardUrl}` });
  }
  if (!("ref" in settings.project)) {
    changes.push({ action: "update", what: "Storage", why: "accepts files of up to 8 GiB" });
  }
  return changes;
}

async function differences({ settings, state, supabase }: Context) {
  const [schemas, urls, limit] = await Promise.all([
    settings.exposeSchema === null ? null : supabase.exposedSchemas(),
    settings.dashboardUrl === null ? null : supabase.redirectUrls(),
    // In an existing project, the limit belongs to the host app.
    state.createdProject && !state.fileSizeLimitRefused ? supabase.fileSizeLimit() : null,
  ]);
  const redirect = `${settings.dashboardUrl}/**`;
  return {
    schemas: schemas === null || schemas.includes("tunebase") === settings.exposeSchema
      ? null
      : settings.exposeSchema
      ? [...schemas, "tunebase"]
      : schemas.filter((name) => name !== "tunebase"),
    urls: urls === null || urls.includes(redirect) ? null : [...urls, redirect],
    raise: limit !== null && limit < fileSizeLimit,
  };
}
