/**
 * The token that the API sends to an inference worker with each request, in the header `x-tunebase-token`: an HS256 JWT
 * signed with a secret derived for the endpoint. It names the only model that the request may use, and the location of
 * its files. `deno task types` writes it as JSON Schema to `inference/token.schema.json`.
 */
import * as z from "zod";

export const tokenHeader = "x-tunebase-token";
/** RunPod ends a request after 330 s. */
export const tokenSeconds = 360;
/** The name that base models are served under. */
export const baseModelName = "base";

/** The purpose of an endpoint's secret (`deriveSecret`). The worker gets the secret as TUNEBASE_INFERENCE_SECRET. */
export const inferenceSecretPurpose = (endpointId: string) => `inference/${endpointId}`;

const TokenFile = z.strictObject({
  path: z.enum(["adapter_config.json", "adapter_model.safetensors"]),
  /** A signed download URL. */
  url: z.url(),
  bytes: z.int().min(1),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
});

export const InferenceToken = z.strictObject({
  iss: z.literal("tunebase"),
  /** The endpoint's id. */
  aud: z.string(),
  iat: z.int(),
  exp: z.int(),
  /** The request's id. */
  jti: z.uuid(),
  base: z.strictObject({ source: z.string(), revision: z.string().nullable() }),
  /**
   * The request's `model` must equal it: `base`, or an opaque name of the adapter that is never reused for other weights.
   * It ends with the first 16 hex digits of the SHA-256 of the sorted lines `{path}:{sha256}\n` of its files.
   */
  model: z.union([z.literal(baseModelName), z.string().regex(/^tb-[0-9a-f]{32}-[0-9a-f]{16}$/)]),
  adapter: z.strictObject({
    rank: z.int().min(1),
    /** The total size of the files. */
    bytes: z.int().min(1),
    files: z.array(TokenFile).min(1).max(2),
  }).nullable(),
  /** The request's `cache_salt` must equal it. It differs between projects, so that no project can probe another's prompts. */
  cache_salt: z.string(),
});
export type InferenceToken = z.infer<typeof InferenceToken>;
