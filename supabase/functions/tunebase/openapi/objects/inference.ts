/** Answers of models. The engine can add fields. */
import * as z from "zod";
import { count, time } from "./fields.ts";

const Tokens = z.object({ prompt_tokens: count, completion_tokens: count, total_tokens: count })
  .meta({ id: "CompletionUsage" });

const answer = { created: time, model: z.string(), usage: Tokens.nullish() };

const finish_reason = z.string().nullable().meta({ examples: ["stop", "length", "tool_calls"] });

export const ChatCompletion = z.object({
  id: z.string().meta({ examples: ["chatcmpl-0192f5c8a1b27c3d8e4f5a6b7c8d9e0f"] }),
  object: z.literal("chat.completion"),
  ...answer,
  choices: z.array(z.object({
    index: z.int(),
    message: z.looseObject({
      role: z.literal("assistant"),
      content: z.string().nullish(),
      tool_calls: z.array(z.looseObject({})).nullish(),
    }),
    logprobs: z.looseObject({}).nullish(),
    finish_reason,
  })),
}).meta({ id: "ChatCompletion" });

export const StoredCompletion = ChatCompletion.extend({
  metadata: z.record(z.string(), z.string()),
  messages: z.array(z.looseObject({ role: z.string() })).describe("The conversation before the answer"),
  tools: z.array(z.looseObject({})).nullable(),
  expires_at: time,
}).meta({ id: "StoredCompletion" });

export const StoredMessage = z.looseObject({ id: z.string(), role: z.string() }).meta({
  id: "StoredMessage",
});

export const Completion = z.object({
  id: z.string().meta({ examples: ["cmpl-0192f5c8a1b27c3d8e4f5a6b7c8d9e0f"] }),
  object: z.literal("text_completion"),
  ...answer,
  choices: z.array(z.object({
    index: z.int(),
    text: z.string(),
    logprobs: z.looseObject({}).nullish(),
    finish_reason,
  })),
}).meta({ id: "Completion" });

/** OpenAPI 3.1 cannot describe a stream; this is each of its events, as 3.2's `itemSchema` does. */
export const ServerSentEvent = z.object({
  data: z.string().describe("A chunk of the answer as JSON, an object with `error`, or `[DONE]`"),
}).meta({ id: "ServerSentEvent" });
