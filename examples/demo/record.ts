/** The demo's results: `.tunebase/demo.json`, and the summary in the terminal. */
import { dirname } from "node:path";
import type { Chat } from "./chat.ts";
import type { Evaluation } from "./evaluate.ts";

export interface DemoRecord {
  job_id: string | null;
  status: string | null;
  seconds: {
    install: number | null;
    stack: number | null;
    model: number | null;
    train: number | null;
    chat: number | null;
    total: number | null;
  };
  train: {
    steps: number;
    first_loss: number | null;
    last_loss: number | null;
    tokens_per_second: number | null;
  } | null;
  heldout:
    | { rows: number; base_exact: number; tuned_exact: number; base_loss: number; tuned_loss: number }
    | null;
  /** Null if the server does not serve the model. */
  chat: Chat | null;
  adapter: { files: { path: string; bytes: number; sha256: string }[] };
  versions: { [name: string]: string };
}

export function emptyRecord(): DemoRecord {
  return {
    job_id: null,
    status: null,
    seconds: { install: null, stack: null, model: null, train: null, chat: null, total: null },
    train: null,
    heldout: null,
    chat: null,
    adapter: { files: [] },
    versions: {},
  };
}

/** Whether the job succeeded and beats the base model in both measures: more exact answers (or all) and a lower loss. */
export function isTunedBetter({ status, heldout }: DemoRecord): boolean {
  if (status !== "succeeded" || heldout === null) return false;
  const { rows, base_exact, tuned_exact, base_loss, tuned_loss } = heldout;
  return (tuned_exact > base_exact || (tuned_exact === rows && base_exact === rows)) &&
    tuned_loss < base_loss;
}

/** Writes the record, complete or not. */
export async function writeRecord(path: string, record: DemoRecord): Promise<void> {
  await Deno.mkdir(dirname(path), { recursive: true });
  await Deno.writeTextFile(path, JSON.stringify(record, null, 2) + "\n");
}

/** Prints sample answers side by side, and the metrics. */
export function printSummary(
  record: DemoRecord,
  samples: Evaluation["samples"],
  line: (text: string) => void,
): void {
  for (const { prompt, expected, base, tuned } of samples) {
    line(
      `\n  prompt    ${clip(prompt)}\n  expected  ${clip(expected)}\n  base      ${clip(base)}\n  tuned     ${
        clip(tuned)
      }`,
    );
  }
  const { heldout, train, chat, seconds } = record;
  if (heldout === null || train === null) return;
  line(`
  held-out rows ${heldout.rows}      base     tuned
  exact answers      ${String(heldout.base_exact).padStart(7)}   ${String(heldout.tuned_exact).padStart(7)}
  mean loss          ${heldout.base_loss.toFixed(3).padStart(7)}   ${
    heldout.tuned_loss.toFixed(3).padStart(7)
  }
${chat === null ? "" : chatSummary(chat)}
  job        ${record.job_id} ${record.status}
  training   ${train.steps} steps, loss ${train.first_loss?.toFixed(3)} → ${train.last_loss?.toFixed(3)}, ${
    train.tokens_per_second?.toFixed(0)
  } tokens/s
  adapter    ${record.adapter.files.length} files, ${
    record.adapter.files.reduce((sum, file) => sum + file.bytes, 0)
  } bytes
  seconds    install ${seconds.install}, stack ${seconds.stack}, model ${seconds.model}, job ${seconds.train}, chat ${seconds.chat}, total ${seconds.total}

  ${
    isTunedBetter(record)
      ? "The fine-tuned model beats the base model."
      : "The fine-tuned model does NOT beat the base model."
  }`);
}

const chatSummary = (chat: Chat) => `
  by name, streamed, ${chat.rows} rows
  exact answers      ${String(chat.base_exact).padStart(7)}   ${String(chat.tuned_exact).padStart(7)}
  ${chat.equal_to_transformers} of ${
  2 * chat.rows
} answers equal those of plain transformers; first token after ${chat.first_token_ms} ms, ${chat.tokens_per_second} tokens/s
`;

const clip = (text: string) => {
  const flat = text.replaceAll(/\s+/g, " ");
  return flat.length > 96 ? `${flat.slice(0, 95)}…` : flat;
};
