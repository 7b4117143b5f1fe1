/**
 * The usage and outcome of a request. `finish_inference` records it once; if the isolate dies first, the request is
 * abandoned and free. A request is charged for what it delivered: its tokens, and the time it took to generate them.
 */
import * as z from "zod";
import { rpc } from "../../_shared/database/rpc.ts";
import type { ApiError } from "../../_shared/errors.ts";
import { describeError } from "../../_shared/log.ts";
import type { Platform } from "../../_shared/platform.ts";

const Usage = z.object({
  prompt_tokens: z.int().min(0),
  completion_tokens: z.int().min(0).nullish(),
});
const retryMs = 500;

export class Bill {
  readonly #startedAt = performance.now();
  #answeredAt = this.#startedAt;
  #firstTokenMs: number | null = null;
  #usage: unknown;
  #chunks = 0;

  constructor(private readonly platform: Platform, readonly id: string) {}

  /** Call when a stream begins. Time is charged from here on, so that loading the model is free. */
  answered(): void {
    this.#answeredAt = performance.now();
  }

  /** Counts a chunk of a stream, or a complete answer. `usage` is the usage so far, if the engine reports it. */
  add(usage: unknown): void {
    this.#firstTokenMs ??= Math.round(performance.now() - this.#startedAt);
    this.#chunks += 1;
    if (usage !== undefined && usage !== null) this.#usage = usage;
  }

  /** Ends and charges the request, and stores `completion`, if any (stored_completion.ts). Never throws, because the answer has already been delivered. */
  async finish(
    status: "succeeded" | "cancelled" | "failed",
    { error, completion = null }: { error?: ApiError; completion?: object | null } = {},
  ): Promise<void> {
    const now = performance.now();
    // Without a usage, each chunk counts as a token.
    const { data: usage = { prompt_tokens: 0, completion_tokens: this.#chunks } } = Usage.safeParse(
      this.#usage,
    );
    const result = {
      status,
      http_status: error?.entry.status ?? (status === "succeeded" ? 200 : null),
      error_code: error?.code ?? null,
      prompt_tokens: usage.prompt_tokens,
      completion_tokens: usage.completion_tokens ?? 0,
      first_token_ms: this.#firstTokenMs,
      seconds: this.#chunks === 0 ? 0 : Math.round(now - this.#answeredAt) / 1000,
    };
    const { db, log } = this.platform;
    const record = () => rpc(db, "finish_inference", { id: this.id, result, completion });
    try {
      await record().catch(async () => {
        await new Promise((resolve) => setTimeout(resolve, retryMs));
        return await record();
      });
    } catch (failure) {
      log({ level: "error", msg: "an inference request was not recorded", error: describeError(failure) });
    }
  }
}
