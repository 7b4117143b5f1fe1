/** The Hugging Face hub: a model's current revision, access and files. `HF_ENDPOINT` replaces its address, as in Python. */
import process from "node:process";
import * as z from "zod";
import { DeployError } from "./errors.ts";

const Info = z.object({
  /** The commit of the main branch. */
  sha: z.string().regex(/^[0-9a-f]{40}$/),
  /** Whether its license must be accepted first. */
  gated: z.union([z.literal(false), z.enum(["auto", "manual"])]).default(false),
  tags: z.array(z.string()).default([]),
  siblings: z.array(z.object({ rfilename: z.string() })).default([]),
  safetensors: z.object({ total: z.number().optional() }).nullish(),
});
export type HubModel = z.infer<typeof Info>;

const endpoint = () => (process.env.HF_ENDPOINT || "https://huggingface.co").replace(/\/+$/, "");

/** A model's record, as of the main branch or a revision. Throws a DeployError if there is none, or if the token cannot read it. */
export async function hubModel(id: string, token: string | null, revision?: string): Promise<HubModel> {
  const suffix = revision === undefined ? "" : `/revision/${revision}`;
  const response = await get(`/api/models/${path(id)}${suffix}`, id, token);
  const text = await response.text();
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    body = null;
  }
  const info = Info.safeParse(body);
  if (!info.success) {
    throw new DeployError(
      `The Hugging Face hub returned an unexpected response for ${id}: ${z.prettifyError(info.error)}`,
      "Try again. Check HF_ENDPOINT if it is set.",
    );
  }
  return info.data;
}

/** A model's current commit. For a gated model, also checks that the token can read its files. */
export async function currentRevision(id: string, token: string | null): Promise<string> {
  const { sha, gated } = await hubModel(id, token);
  // The record of a gated model is public, but its files are not.
  if (gated !== false) await hubFile(id, sha, "config.json", token);
  return sha;
}

/** A file of a revision. Throws a DeployError. */
export async function hubFile(
  id: string,
  revision: string,
  name: string,
  token: string | null,
): Promise<Uint8Array<ArrayBuffer>> {
  const response = await get(`/${path(id)}/resolve/${revision}/${name}`, id, token);
  return new Uint8Array(await response.arrayBuffer());
}

async function get(path: string, id: string, token: string | null): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(`${endpoint()}${path}`, {
      headers: token === null ? {} : { authorization: `Bearer ${token}` },
      signal: AbortSignal.timeout(120_000),
    });
  } catch (error) {
    throw new DeployError(
      `The Hugging Face hub cannot be reached: ${error instanceof Error ? error.message : error}`,
      "Check the network, and HF_ENDPOINT if it is set.",
    );
  }
  if (response.ok) return response;
  await response.body?.cancel();
  const { status } = response;
  if (status === 401 || status === 403) {
    throw new DeployError(
      token === null
        ? `${id} on the Hugging Face hub is gated or private, or does not exist.`
        : `HF_TOKEN has no access to ${id} on the Hugging Face hub.`,
      `Accept the license at ${endpoint()}/${id} and set HF_TOKEN to a token with read access.`,
    );
  }
  throw new DeployError(
    `The Hugging Face hub responded with ${status} for ${id}.`,
    status === 404 ? "Check the id." : "Try again later.",
  );
}

const path = (id: string) => id.split("/").map(encodeURIComponent).join("/");
