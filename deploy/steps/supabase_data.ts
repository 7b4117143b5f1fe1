/** Stored data, which `destroy --delete-data` removes together with the schemas, roles and buckets. Deploying creates none. */
import * as z from "zod";
import { hasRelation } from "../database.ts";
import { pluralize } from "../../cli/terminal/format.ts";
import { DeployError } from "../errors.ts";
import { postToProject } from "../platforms/project.ts";
import { PlatformError } from "../platforms/request.ts";
import { uninstallSql } from "../sources.ts";
import type { Context, Step } from "../step.ts";

const buckets = ["tunebase-datasets", "tunebase-adapters", "tunebase-tokenizers"];
const patienceMs = 5 * 60_000;

export const supabaseData: Step = {
  id: "supabase-data",
  title: "Data",
  plan: () => Promise.resolve([]),
  apply: () => Promise.resolve(),
  async planRemoval(context, { data }) {
    if (!data || !await hasRelation(context.supabase, "tunebase.jobs")) return [];
    const [counts] = await context.supabase.query(
      `select (select count(*) from tunebase.projects)::int as projects, (select count(*) from tunebase.jobs)::int as jobs,
        (select count(*) from storage.objects where bucket_id = any($1))::int as objects`,
      z.array(z.object({ projects: z.int(), jobs: z.int(), objects: z.int() })),
      [buckets],
    );
    const { projects = 0, jobs = 0, objects = 0 } = counts ?? {};
    return [
      { action: "delete", what: `buckets ${buckets.join(", ")} with ${pluralize(objects, "object")}` },
      {
        action: "delete",
        what: `schemas tunebase and tunebase_internal with ${pluralize(projects, "project")} and ${
          pluralize(jobs, "job")
        }`,
      },
      { action: "delete", what: "database roles, policies, Vault secrets and migration records of Tunebase" },
    ];
  },
  async remove(context) {
    const sql = await uninstallSql();
    const until = Date.now() + patienceMs;
    // Storage empties a bucket in the background, and an upload may still complete. The script fails until all are empty.
    for (;;) {
      for (const bucket of buckets) await emptyBucket(context, bucket);
      try {
        return await context.supabase.execute(sql);
      } catch (error) {
        if (!(error instanceof PlatformError) || !error.message.includes("buckets are not empty")) {
          throw error;
        }
        if (Date.now() > until) {
          throw new DeployError(error.message, "Run the command again to continue.");
        }
        await new Promise((resolve) => setTimeout(resolve, 1000));
      }
    }
  },
};

/** Through Storage, because deleting rows in SQL would leave the files behind. */
async function emptyBucket(context: Context, bucket: string): Promise<void> {
  const { ok, status, text } = await postToProject(context, `/storage/v1/bucket/${bucket}/empty`);
  // An interrupted deployment has no buckets yet. Storage says so with 400 and a statusCode in the body.
  if (ok || status === 404 || /"statusCode":\s*"?404/.test(text)) return;
  throw new DeployError(
    `Storage did not empty the bucket ${bucket}: ${status} ${text}`,
    "Empty it in the Supabase dashboard (Storage), then run the command again.",
  );
}
