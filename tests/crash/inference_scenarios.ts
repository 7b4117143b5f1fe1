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

/** Creates an evaluation of the base model over one row of a file. */
async function evaluation(harness: CrashHarness, arm = async () => {}): Promise<{ id: string }> {
  harness.tunebase.inference.answer = complete(["It is fine"]);
  const { id: file } = await harness.createFile();
  await arm();
  return await harness.openai.post("/evaluations", {
    body: { models: [model], file, max_rows: 1 },
  });
}

/** How evaluations ended, and what their answers cost; leases of a process that died expire first. */
async function evaluated(harness: CrashHarness): Promise<unknown> {
  const { sql } = harness.tunebase;
  for (let ticks = 0; ticks < 3; ticks++) {
    await sql`update tunebase_internal.evaluation_queue set next_at = now()`;
    await harness.tick();
  }
  const [latest] = await sql`
    select status, answered, row_count, error ->> 'code' as code,
      (select count(*)::int from tunebase.evaluation_answers a where a.evaluation_id = e.id) as answers
    from tunebase.evaluations e order by id desc limit 1`;
  return [{ ...latest }, await settle(harness)];
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
  "an evaluation is created": async (harness, arm) => {
    const before = await harness.count("tunebase.evaluations");
    await evaluation(harness, arm);
    return [await harness.count("tunebase.evaluations") - before, await evaluated(harness)];
  },
  "an evaluation is cancelled": async (harness, arm) => {
    const { id } = await evaluation(harness);
    await arm();
    await harness.openai.post(`/evaluations/${id}/cancel`);
    return await evaluated(harness);
  },
  "an evaluation is deleted": async (harness, arm) => {
    const { id } = await evaluation(harness);
    await arm();
    await done(harness.openai.delete(`/evaluations/${id}`), 404);
    return await harness.count("tunebase_internal.evaluation_queue");
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
  "an evaluation's rows are answered": async (harness, arm) => {
    await evaluation(harness);
    await harness.tunebase.sql`update tunebase_internal.evaluation_queue set next_at = now()`;
    await arm();
    await harness.tick();
    return await evaluated(harness);
  },
  "an evaluation's model is not served any more": async (harness, arm) => {
    await evaluation(harness);
    await harness.tunebase.sql`update tunebase.base_models set inference_endpoint_id = null`;
    await arm();
    await harness.tick();
    const result = await evaluated(harness);
    await harness.tunebase.sql`update tunebase.base_models set inference_endpoint_id = 'local-inference'`;
    return result;
  },
};
