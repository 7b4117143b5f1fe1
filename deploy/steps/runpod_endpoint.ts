/** Shared by the steps for RunPod endpoints: finds an endpoint, compares it with the settings, and creates or updates it. */
import { createHash } from "node:crypto";
import { DeployError } from "../errors.ts";
import { PlatformError } from "../platforms/request.ts";
import type { Endpoint, EndpointSettings } from "../platforms/runpod.ts";
import type { Context } from "../step.ts";
import { installation, ownerVariable } from "./runpod_names.ts";

/** Driver 580: see docs/gpu.md. */
export const minCudaVersion = "13.0";

export interface Desired extends EndpointSettings {
  type: "QUEUE" | "LOAD_BALANCER";
}

/** The endpoint, by its id or else by its name. Throws a DeployError if the name belongs to something else. */
export async function findEndpoint(
  context: Context,
  id: string | null | undefined,
  name: string,
): Promise<Endpoint | null> {
  const { own, foreign } = await search(context, id, name);
  if (own === null && foreign) {
    throw new DeployError(
      `RunPod has an endpoint ${name} that does not belong to this installation.`,
      "Rename or delete it in the RunPod console, or deploy with another --profile.",
    );
  }
  return own;
}

/** The same, for removal: null if the name belongs to something else. */
export async function findOwnEndpoint(
  context: Context,
  id: string | null | undefined,
  name: string,
): Promise<Endpoint | null> {
  return (await search(context, id, name)).own;
}

async function search(context: Context, id: string | null | undefined, name: string) {
  const endpoints = await context.runpod.listEndpoints();
  // RunPod appends the suffix to the names of endpoints with FlashBoot.
  const named = endpoints.filter((endpoint) => endpoint.name === name || endpoint.name === `${name} -fb`);
  const own = endpoints.find((endpoint) => endpoint.id === id) ??
    named.find(({ env }) => env[ownerVariable] === installation(context)) ?? null;
  return { own, foreign: named.length > 0 };
}

/** Describes each difference: `image: a → b`. Values of environment variables are shown as fingerprints. */
export function differences(
  found: Endpoint,
  desired: Desired,
): { changes: Partial<EndpointSettings>; why: string[] } {
  const changes: Partial<EndpointSettings> = {};
  const why: string[] = [];
  const compare = <K extends keyof EndpointSettings>(
    field: K,
    before: unknown,
    after: unknown,
    shown: (value: unknown) => string = (value) =>
      Array.isArray(value) ? value.join(", ") || "none" : `${value}`,
    label: string = field,
  ) => {
    // The order of lists has no meaning to RunPod, which may change it.
    if (JSON.stringify(sorted(before)) === JSON.stringify(sorted(after))) return;
    changes[field] = desired[field];
    why.push(`${label}: ${shown(before)} → ${shown(after)}`);
  };
  compare("image", found.image, desired.image);
  compare("gpu", found.gpu?.pools ?? [], desired.gpu.pools, undefined, "GPU pools");
  compare("gpu", found.gpu?.count ?? 1, desired.gpu.count, undefined, "GPUs per worker");
  compare(
    "gpu",
    found.gpu?.minCudaVersion ?? null,
    desired.gpu.minCudaVersion,
    undefined,
    "minimum CUDA version",
  );
  compare("workers", found.workers.min, desired.workers.min, undefined, "min workers");
  compare("workers", found.workers.max, desired.workers.max, undefined, "max workers");
  compare("workers", found.workers.idleTimeout, desired.workers.idleTimeout, undefined, "idle timeout (s)");
  compare("scaling", scalingOf(found.scaling), scalingOf(desired.scaling));
  compare("dataCenterIds", found.dataCenterIds, desired.dataCenterIds, undefined, "data centers");
  compare("networkVolumes", found.networkVolumes, desired.networkVolumes, undefined, "network volumes");
  compare("timeout", found.timeout, desired.timeout, undefined, "timeout (ms)");
  compare("flashboot", found.flashboot, desired.flashboot);
  compare("ports", found.ports, desired.ports);
  if (found.disk !== undefined) compare("disk", found.disk, desired.disk, undefined, "disk (GB)");
  compare("registry", found.registry ?? null, desired.registry, (id) => id === null ? "none" : `${id}`);
  for (const name of new Set([...Object.keys(found.env), ...Object.keys(desired.env)])) {
    const [before, after] = [found.env[name], desired.env[name]];
    if (before === after) continue;
    changes.env = desired.env;
    why.push(`${name}: ${fingerprint(before)} → ${fingerprint(after)}`);
  }
  return { changes, why };
}

const sorted = (value: unknown) => Array.isArray(value) ? value.toSorted() : value;

const scalingOf = (scaling: Endpoint["scaling"]) =>
  scaling.type === "QUEUE_DELAY"
    ? `queue delay ${scaling.queueDelay}`
    : `request count ${scaling.requestCount}`;

/** The start of a value's SHA-256. */
function fingerprint(value: string | undefined): string {
  return value === undefined
    ? "not set"
    : `sha256:${createHash("sha256").update(value).digest("hex").slice(0, 8)}`;
}

/** Keeps what the operator added: variables that a deployment does not set, and credentials that it was not given. */
export const withOperatorsEnv = (
  found: Endpoint | null,
  env: Record<string, string>,
): Record<string, string> => ({
  ...found?.env,
  ...env,
});

/** Creates or updates the endpoint and returns it. */
export async function ensureEndpoint(
  context: Context,
  found: Endpoint | null,
  desired: Desired,
): Promise<Endpoint> {
  try {
    if (found === null) return await context.runpod.createEndpoint(desired);
    const { type: _, ...settings } = desired;
    const { changes } = differences(found, { type: desired.type, ...settings });
    return Object.keys(changes).length === 0 ? found : await context.runpod.updateEndpoint(found.id, changes);
  } catch (error) {
    if (
      !(error instanceof PlatformError) || error.status !== 400 || !/quota|max workers/i.test(error.message)
    ) {
      throw error;
    }
    throw new DeployError(
      `RunPod does not allow this many workers: ${error.message}`,
      "Lower --max-workers, select fewer models, or raise the account's worker quota in the RunPod console.",
    );
  }
}

/** The image registry's credentials: this deployment's, or the endpoint's current ones. */
export const registryOf = ({ state }: Context, found: Endpoint | null): string | null =>
  state.registry ?? found?.registry ?? null;

/** Where base models are cached: on the network volume. */
export const hubCache = "/runpod-volume/huggingface-cache/hub";
