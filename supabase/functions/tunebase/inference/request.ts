/** The bodies of chat and text completions, and which fields are passed to the engine. All other fields are rejected by name. */
import * as z from "zod";
import { didYouMean } from "../../_shared/datasets/convert/near_miss.ts";
import { ApiError, type Problem } from "../../_shared/errors.ts";
import { parseOrThrow } from "../../_shared/validation.ts";

/** OpenAI's maximum for `n` is 128; each choice occupies a slot of the engine. */
const maxChoices = 16;
const maxPrompts = 128;

const object = z.looseObject({});
const tokens = z.int().min(1).max(2 ** 20);
const penalty = z.number().min(-2).max(2);

/** OpenAI's fields that are passed to the engine unchanged. */
const sampling = {
  n: z.int().min(1).max(maxChoices).nullish(),
  stop: z.union([z.string(), z.array(z.string()).max(16)]).nullish(),
  seed: z.int().nullish(),
  temperature: z.number().min(0).max(2).nullish(),
  top_p: z.number().min(0).max(1).nullish(),
  presence_penalty: penalty.nullish(),
  frequency_penalty: penalty.nullish(),
  logit_bias: z.record(z.string().regex(/^\d{1,9}$/), z.number().min(-100).max(100), {
    error: ({ code }) =>
      code === "invalid_key" ? 'must have a token id as key, such as {"1234": -100}' : undefined,
  }).nullish(),
  max_tokens: tokens.nullish(),
  // vLLM's.
  top_k: z.int().min(-1).nullish(),
  min_p: z.number().min(0).max(1).nullish(),
  repetition_penalty: z.number().gt(0).max(10).nullish(),
  min_tokens: z.int().min(0).nullish(),
  ignore_eos: z.boolean().nullish(),
};
const chatOnly = {
  tools: z.array(object).max(128).nullish(),
  tool_choice: z.union([z.string(), object]).nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  response_format: object.nullish(),
  logprobs: z.boolean().nullish(),
  top_logprobs: z.int().min(0).max(20).nullish(),
  max_completion_tokens: tokens.nullish(),
  reasoning_effort: z.string().nullish(),
  chat_template_kwargs: object.nullish(),
};
const textOnly = { logprobs: z.int().min(0).max(20).nullish() };

/** Fields that are not passed to the engine. */
const ours = {
  model: z.string().min(1).max(300),
  stream: z.boolean().nullish(),
  stream_options: z.looseObject({ include_usage: z.boolean().nullish() }).nullish(),
  user: z.string().max(512).nullish(),
  metadata: z.record(z.string().max(64), z.string().max(512)).nullish(),
  service_tier: z.string().nullish(),
  safety_identifier: z.string().nullish(),
  prompt_cache_key: z.string().nullish(),
};

const messages = z.array(z.looseObject({ role: z.string() })).min(1).max(2048);
const prompt = z.union([
  z.string(),
  z.array(z.string()).min(1).max(maxPrompts),
  z.array(z.int().min(0)).min(1),
  z.array(z.array(z.int().min(0)).min(1)).min(1).max(maxPrompts),
]);

export const ChatBody = z.strictObject({
  ...ours,
  store: z.boolean().nullish(),
  messages,
  ...sampling,
  ...chatOnly,
});
export const TextBody = z.strictObject({ ...ours, prompt, ...sampling, ...textOnly });
export type ChatBody = z.infer<typeof ChatBody>;
export type TextBody = z.infer<typeof TextBody>;
export type InferenceBody = ChatBody | TextBody;

/** Parses a body. Throws an ApiError that lists unknown fields first, with suggestions for misspelled ones. */
export function readBody<B extends InferenceBody>(schema: z.ZodObject & z.ZodType<B>, input: unknown): B {
  const known = Object.keys(schema.shape);
  const unknown = input === null || typeof input !== "object" || Array.isArray(input)
    ? []
    : Object.keys(input).filter((field) => !known.includes(field));
  if (unknown.length > 0) {
    const problems = unknown.slice(0, 20).map((field): Problem => {
      const name = field.slice(0, 100).toWellFormed();
      return {
        param: name,
        message: `${name}: unknown field.${didYouMean(field, known)} Allowed fields: ${known.join(", ")}`,
      };
    });
    throw new ApiError("invalid_request", problems, { count: unknown.length });
  }
  return parseOrThrow(schema, input);
}

/** The engine's body: only fields that are declared above, its own name of the model, and the project's cache salt. */
export function engineBody(body: InferenceBody, model: string, cacheSalt: string): Record<string, unknown> {
  const passed = Object.entries(body).filter(([field, value]) =>
    !(field in ours) && field !== "store" && value !== null && value !== undefined
  );
  return {
    ...Object.fromEntries(passed),
    model,
    cache_salt: cacheSalt,
    // Each chunk has the usage so far, so that a stream that ends early is charged for what it delivered.
    ...(body.stream
      ? { stream: true, stream_options: { include_usage: true, continuous_usage_stats: true } }
      : {}),
  };
}

/** Upper bounds of a request's usage, to reserve its cost. */
export function bounds(body: InferenceBody) {
  const content = "messages" in body ? body.messages : body.prompt;
  const tools = "messages" in body ? body.tools ?? [] : [];
  const prompts = Array.isArray(content) && !("messages" in body) && typeof content[0] !== "number"
    ? content.length
    : 1;
  const completion = "messages" in body ? body.max_completion_tokens ?? body.max_tokens : body.max_tokens;
  return {
    prompts,
    // A token has at least one byte. Templates add a few per message.
    max_prompt_tokens: new TextEncoder().encode(JSON.stringify([content, tools])).length + 1024,
    choices: prompts * (body.n ?? 1),
    max_completion_tokens: completion ?? null,
  };
}
