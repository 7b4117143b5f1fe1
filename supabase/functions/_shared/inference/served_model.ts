/** A model as the engine serves it: its opaque name, the URLs of its files, and the token that names both. */
import { sign } from "hono/jwt";
import * as z from "zod";
import { buckets } from "../contracts/buckets.ts";
import {
  baseModelName,
  inferenceSecretPurpose,
  type InferenceToken,
  tokenSeconds,
} from "../contracts/inference_token.ts";
import { ApiError } from "../errors.ts";
import type { Platform } from "../platform.ts";
import { deriveSecret, sha256Hex } from "../secrets.ts";
import { unavailable } from "../storage.ts";

const AdapterFile = z.object({
  path: z.enum(["adapter_config.json", "adapter_model.safetensors"]),
  object: z.string(),
  bytes: z.number(),
  sha256: z.string(),
});
/** What `start_inference` and `find_servable_model` return. */
export const StartedInference = z.object({
  id: z.string(),
  project_id: z.string(),
  model: z.string(),
  endpoint_id: z.string(),
  source: z.string(),
  revision: z.string().nullable(),
  adapter: z.object({ id: z.string(), rank: z.number(), files: z.array(AdapterFile) }).nullable(),
});
export type StartedInference = z.infer<typeof StartedInference>;

export interface ServedModel {
  /** The engine's name of the model. */
  name: string;
  cacheSalt: string;
  token: string;
}

/** Cached URLs are reused while they remain valid for at least this long; a worker may download slowly. */
const urlSeconds = { valid: 3600, reused: 1800 };
const maxSigned = 500;
/** By the model's opaque name, per isolate. SQL rejects deleted models. */
const signed = new Map<string, { files: SignedFile[]; until: number }>();
type SignedFile = NonNullable<InferenceToken["adapter"]>["files"][number];

/** Prepares a request. Throws `model_files_invalid` if a file is not in Storage. */
export async function serve(platform: Platform, started: StartedInference): Promise<ServedModel> {
  const { masterKey } = platform.settings;
  const { adapter, endpoint_id } = started;
  const name = adapter === null ? baseModelName : opaqueName(adapter);
  const cacheSalt = deriveSecret(masterKey, `inference-cache/${started.project_id}`);
  const now = Math.floor(Date.now() / 1000);
  const claims: InferenceToken = {
    iss: "tunebase",
    aud: endpoint_id,
    iat: now,
    exp: now + tokenSeconds,
    jti: started.id,
    base: { source: started.source, revision: started.revision },
    model: name,
    adapter: adapter === null ? null : {
      rank: adapter.rank,
      bytes: adapter.files.reduce((sum, { bytes }) => sum + bytes, 0),
      files: await signedFiles(platform, name, started),
    },
    cache_salt: cacheSalt,
  };
  const secret = deriveSecret(masterKey, inferenceSecretPurpose(endpoint_id));
  return { name, cacheSalt, token: await sign(claims, secret, "HS256") };
}

/** Immutable and never reused for other weights, because the engine's prefix cache is keyed by it. */
function opaqueName({ id, files }: NonNullable<StartedInference["adapter"]>): string {
  const lines = files.map(({ path, sha256 }) => `${path}:${sha256}\n`).sort();
  return `tb-${id.replaceAll("-", "")}-${sha256Hex(lines.join("")).slice(0, 16)}`;
}

async function signedFiles(
  { supabase }: Platform,
  name: string,
  { model, adapter }: StartedInference,
): Promise<SignedFile[]> {
  const known = signed.get(name);
  if (known !== undefined && Date.now() < known.until) return known.files;
  const files = adapter?.files ?? [];
  const { data, error } = await supabase.storage.from(buckets.adapters).createSignedUrls(
    files.map(({ object }) => object),
    urlSeconds.valid,
  );
  if (error !== null) throw unavailable(`signing ${name}`, error);
  const urls = files.map(({ path, bytes, sha256 }, i): SignedFile => {
    const url = data[i]?.signedUrl;
    if (!url) throw ApiError.of("model_files_invalid", { model, problem: "are missing from Storage" });
    return { path, url, bytes, sha256 };
  });
  if (signed.size >= maxSigned) signed.clear();
  signed.set(name, { files: urls, until: Date.now() + urlSeconds.reused * 1000 });
  return urls;
}
