/** Credentials for private images. RunPod never returns them, so a fingerprint in the name detects changes. */
import { createHash } from "node:crypto";
import type { Change, Context, Step } from "../step.ts";
import { resourceName } from "./runpod_names.ts";

export const runpodRegistry: Step = {
  id: "runpod-registry",
  title: "RunPod registry credentials",
  async plan(context) {
    const name = credentialsName(context);
    if (name === null) return [];
    const found = (await context.runpod.listRegistries()).find((registry) => registry.name === name);
    if (found === undefined) return [{ action: "create", what: `registry credentials ${name}` }];
    return found.id === context.state.registry
      ? []
      : [{ action: "update", what: "this installation's record", why: `registry credentials ${found.id}` }];
  },
  async apply(context) {
    const { runpod, settings, state } = context;
    const name = credentialsName(context);
    if (name === null || settings.registry === null) return;
    const found = (await runpod.listRegistries()).find((registry) => registry.name === name) ??
      await runpod.createRegistry({ name, ...settings.registry });
    state.registry = found.id;
  },
  async planRemoval(context) {
    return (await ours(context)).map(({ name }): Change => ({
      action: "delete",
      what: `registry credentials ${name}`,
    }));
  },
  async remove(context) {
    for (const { id } of await ours(context)) await context.runpod.deleteRegistry(id);
    context.state.registry = null;
  },
};

const prefix = ({ settings, state }: Context) =>
  resourceName(settings.profile, `registry-${state.project ?? "PROJECT"}-`);

function credentialsName(context: Context): string | null {
  const { registry } = context.settings;
  if (registry === null) return null;
  const hash = createHash("sha256").update(`${registry.username}\0${registry.password}`).digest("hex");
  return `${prefix(context)}${hash.slice(0, 8)}`;
}

/** Including those that were replaced later. */
async function ours(context: Context) {
  return (await context.runpod.listRegistries()).filter(({ id, name }) =>
    id === context.state.registry || name.startsWith(prefix(context))
  );
}
