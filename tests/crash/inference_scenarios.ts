/** Scenarios of calling models. A client that gets no answer asks again; each request is charged at most once. */
import { assertEquals } from "#assert";
import { complete } from "../support/fake_inference.ts";
import type { CrashHarness } from "./harness.ts";
import { done, type Run } from "./scenario.ts";

const model = "SmolLM2-135M-Instruct";
const messages = [{ role: "user" as const, content: "hi" }];

/** Calls the model until an answer is complete: the SDK does not repeat a stream that breaks off. */
async function answer(harness: CrashHarness, stream: boolean): Promise<string> {
  for (let tries = 0;; tries++) {
    try {
      if (!stream) {
        const whole = await harness.openai.chat.completions.create({ model, messages });
        return whole.choices[0]?.message.content ?? "";
      }
      const chunks = await Array.fromAsync(
        await harness.openai.chat.completions.create({ model, messages, stream: true }),
      );
      return chunks.map(({ choices }) => choices[0]?.delta.content ?? "").join("");
    } catch (error) {
      if (tries === 3) throw error;
    }
  }
}

/** Requests whose process died are abandoned after a quarter of an hour, and cost nothing. */
async function settle(harness: CrashHarness): Promise<number> {
  await harness.tunebase.sql`update tunebase.inference_requests
    set id = tunebase_internal.uuid7_lower_bound(now() - random() * interval '1 hour' - interval '16 minutes')
    where status = 'open'`;
  await harness.tick();
  return await harness.count(
    "tunebase.inference_requests where status = 'open' or (status = 'abandoned' and cost_usd > 0)",
  );
}

const call = (stream: boolean): Run => async (harness, arm) => {
  harness.tunebase.inference.answer = complete(["It", " is", " fine"]);
  await arm();
  return [await answer(harness, stream), await settle(harness)];
};

async function storedCompletion(harness: CrashHarness): Promise<string> {
  harness.tunebase.inference.answer = complete(["It is fine"]);
  await harness.tunebase.sql`update tunebase.projects set store_completions = true`;
  return (await harness.openai.chat.completions.create({ model, messages, store: true })).id;
}

export const inferenceApi: Record<string, Run> = {
  "a model is called": call(false),
  "a model is called, streamed": call(true),
  "a stored completion is deleted": async (harness, arm) => {
    const id = await storedCompletion(harness);
    await arm();
    await done(harness.openai.chat.completions.delete(id), 404);
    return await harness.count("tunebase.stored_completions");
  },
};

export const inferenceScheduler: Record<string, Run> = {
  "inference requests and stored completions expire": async (harness, arm) => {
    await storedCompletion(harness);
    await harness.tunebase.sql`update tunebase.stored_completions set expires_at = now()`;
    await arm();
    await harness.tick();
    await harness.tick();
    assertEquals(await harness.count("tunebase.stored_completions"), 0);
    return await settle(harness);
  },
};
