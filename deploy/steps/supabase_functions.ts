/** The edge functions. Deployed again if their files have changed, or if something else has deployed one. */
import { createHash } from "node:crypto";
import { functionFiles, type FunctionSlug, functionSlugs, type SourceFile } from "../sources.ts";
import { saveState } from "../state.ts";
import type { Change, Context, Step } from "../step.ts";
import { version } from "../../cli/version.ts";

export const supabaseFunctions: Step = {
  id: "supabase-functions",
  title: "Edge functions",
  // Jobs must not fail because their endpoint is gone.
  removedFirst: true,
  async plan(context) {
    return (await outdated(context)).map(({ change }) => change);
  },
  async apply(context) {
    for (const { slug, files, sha256 } of await outdated(context)) {
      const deployed = await context.supabase.deployFunction(slug, files);
      context.state.functions[slug] = { sha256, version: deployed };
      await saveState(context.state);
    }
    context.state.deployedVersion = version;
  },
  async planRemoval(context) {
    return (await present(context)).map((slug) => ({ action: "delete", what: `edge function ${slug}` }));
  },
  async remove(context) {
    for (const slug of await present(context)) {
      await context.supabase.deleteFunction(slug);
      delete context.state.functions[slug];
    }
  },
};

interface Outdated {
  slug: FunctionSlug;
  files: SourceFile[];
  sha256: string;
  change: Change;
}

async function outdated({ state, supabase }: Context): Promise<Outdated[]> {
  const remote = state.project === null ? [] : await supabase.functions();
  const all = await Promise.all(functionSlugs.map(async (slug): Promise<Outdated | null> => {
    const files = await functionFiles(slug);
    const sha256 = digest(files);
    const what = `edge function ${slug} (${files.length} files)`;
    const found = remote.find((one) => one.slug === slug);
    const known = state.functions[slug];
    if (found === undefined) return { slug, files, sha256, change: { action: "create", what } };
    const why = known === undefined
      ? "deployed by something else"
      : known.sha256 !== sha256
      ? `${state.deployedVersion ?? "an earlier version"} → ${version}, or changed files`
      : known.version !== found.version
      ? `version ${found.version} was deployed by something else`
      : null;
    return why === null ? null : { slug, files, sha256, change: { action: "update", what, why } };
  }));
  return all.filter((one) => one !== null);
}

async function present({ supabase }: Context): Promise<FunctionSlug[]> {
  const remote = await supabase.functions();
  return functionSlugs.filter((slug) => remote.some((one) => one.slug === slug));
}

function digest(files: SourceFile[]): string {
  const hash = createHash("sha256");
  for (const { path, content } of files) hash.update(`${path}\0${content.length}\0`).update(content);
  return hash.digest("hex");
}
