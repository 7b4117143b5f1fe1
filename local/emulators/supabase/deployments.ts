/** Uploaded functions: stores the files of a deployment, and checks that they can be bundled. */
import { pathToFileURL } from "node:url";
import * as z from "zod";
import { join, removeIfThere } from "../../paths.ts";
import { denoEnvironment } from "../../stack/environment.ts";
import { root } from "../../state_dir.ts";
import { ApiError, checked } from "./errors.ts";
import type { Deployment } from "./record.ts";

/** The platform's limits. */
const maxFunctions = 100;
const maxBytes = 20e6;

export const Metadata = z.object({
  entrypoint_path: z.string().min(1),
  import_map_path: z.string().min(1).optional(),
  static_patterns: z.array(z.string()).optional(),
  verify_jwt: z.boolean().default(true),
  name: z.string().optional(),
});

/** The folder of a function's deployments. By id, because a function that was deleted and redeployed is a different one. */
export const functionFolder = (projectHome: string, { id }: { id: string }): string =>
  join(projectHome, "functions", id);

/** The folder of a deployment's files. */
export const deploymentFolder = (projectHome: string, deployment: { id: string; version: number }): string =>
  join(functionFolder(projectHome, deployment), String(deployment.version));

/** Reads the form of a deployment: fields `file`, named by their paths, and `metadata`. */
async function readForm(
  request: Request,
): Promise<{ files: File[]; metadata: z.infer<typeof Metadata> }> {
  const form = await request.formData().catch(() => null);
  if (form === null) throw new ApiError(400, "The request is not multipart/form-data");
  const unknown = [...form.keys()].find((name) => name !== "file" && name !== "metadata");
  if (unknown !== undefined) throw new ApiError(400, `Unexpected field ${unknown}`);
  const sent = form.get("metadata");
  const text = sent instanceof File ? await sent.text() : sent;
  let value: unknown;
  try {
    value = JSON.parse(text ?? "null");
  } catch {
    throw new ApiError(400, "metadata: must be JSON");
  }
  const files = form.getAll("file").filter((file) => file instanceof File);
  return { files, metadata: checked(Metadata, value) };
}

/** Stores a deployment of `slug` and returns its record. The caller saves it and starts the function. */
export async function storeDeployment(
  projectHome: string,
  slug: string,
  request: Request,
  existing: Record<string, Deployment>,
): Promise<Deployment> {
  const before = existing[slug];
  if (before === undefined && Object.keys(existing).length >= maxFunctions) {
    throw new ApiError(402, `Maximum number of functions reached for Plan (${maxFunctions})`);
  }
  const { files, metadata } = await readForm(request);
  const id = before?.id ?? crypto.randomUUID();
  const version = (before?.version ?? 0) + 1;
  const folder = deploymentFolder(projectHome, { id, version });
  await removeIfThere(folder);
  try {
    const sha256 = await writeFiles(folder, files);
    const entrypoint = safePath(metadata.entrypoint_path);
    const importMap = metadata.import_map_path === undefined ? null : safePath(metadata.import_map_path);
    for (const path of [entrypoint, ...(importMap === null ? [] : [importMap])]) {
      if (!files.some((file) => safePath(file.name) === path)) {
        throw new ApiError(400, `Failed to bundle the function (reason: ${path} was not uploaded)`);
      }
    }
    await checkModules(folder, entrypoint, importMap);
    const now = Date.now();
    return {
      id,
      name: metadata.name ?? slug,
      version,
      entrypoint,
      importMap,
      verifyJwt: metadata.verify_jwt,
      createdAt: before?.createdAt ?? now,
      updatedAt: now,
      sha256,
    };
  } catch (error) {
    await removeIfThere(folder);
    throw error;
  }
}

/** Writes the files; returns the SHA-256 of their paths and contents. */
async function writeFiles(folder: string, files: File[]): Promise<string> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let size = 0;
  for (const file of files.toSorted((a, b) => a.name < b.name ? -1 : 1)) {
    const name = safePath(file.name);
    const bytes = new Uint8Array(await file.arrayBuffer());
    size += bytes.length;
    if (size > maxBytes) throw new ApiError(400, "The function is larger than 20 MB");
    const path = join(folder, name);
    await Deno.mkdir(join(path, ".."), { recursive: true });
    await Deno.writeFile(path, bytes);
    parts.push(new TextEncoder().encode(`${name}\0${bytes.length}\0`), bytes);
  }
  const all = new Uint8Array(await new Blob(parts).arrayBuffer());
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", all));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A relative path inside the deployment. */
function safePath(path: string): string {
  const segments = path.replace(/^\.\//, "").split("/");
  if (segments.some((segment) => ["", ".", ".."].includes(segment)) || path.includes("\\")) {
    throw new ApiError(400, `Invalid file path: ${path}`);
  }
  return segments.join("/");
}

/**
 * Options of `deno` that restrict imports to the uploaded files. Differs: npm packages come from this repository's lock file
 * and are already installed, so that a deployment needs no network.
 */
export const resolutionOptions = (folder: string, importMap: string | null): string[] => [
  "--no-config",
  `--lock=${join(root, "deno.lock")}`,
  "--frozen",
  ...(importMap === null ? [] : [`--import-map=${join(folder, importMap)}`]),
];

const Graph = z.object({
  modules: z.array(z.object({
    specifier: z.string(),
    error: z.string().optional(),
    dependencies: z.array(z.object({
      specifier: z.string(),
      code: z.object({ specifier: z.string().optional(), error: z.string().optional() }).optional(),
    })).optional(),
  })),
});

/** Rejects a deployment whose imports cannot be resolved within the uploaded files. */
async function checkModules(folder: string, entrypoint: string, importMap: string | null): Promise<void> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", ...resolutionOptions(folder, importMap), entrypoint],
    cwd: folder,
    clearEnv: true,
    env: { ...denoEnvironment(), NO_COLOR: "1" },
    stdin: "null",
  }).output();
  const base = `${pathToFileURL(folder).href}/`;
  const failed = (reason: string) => {
    const text = reason.replaceAll(base, "").replaceAll(`${folder}/`, "");
    return new ApiError(400, `Failed to bundle the function (reason: ${text.slice(0, 1000)})`);
  };
  if (!success) throw failed(new TextDecoder().decode(stderr));
  const graph = Graph.parse(JSON.parse(new TextDecoder().decode(stdout)));
  for (const { specifier, error, dependencies = [] } of graph.modules) {
    if (error !== undefined) throw failed(error);
    if (specifier.startsWith("file:") && !specifier.startsWith(base)) {
      throw failed(`Module not found: ${specifier}`);
    }
    const unresolved = dependencies.find(({ code }) => code?.error !== undefined);
    if (unresolved !== undefined) throw failed(unresolved.code?.error ?? unresolved.specifier);
  }
}
