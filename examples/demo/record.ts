/** What a demo has to show: `.tunebase/demo.json` and the summary on the screen. */
import { dirname } from "node:path";
import type { Evaluation } from "./evaluate.ts";

export interface Record {
  job_id: string | null;
  status: string | null;
  seconds: {
    install: number | null;
    stack: number | null;
    model: number | null;
    train: number | null;
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
  adapter: { files: { path: string; bytes: number; sha256: string }[] };
  versions: { [name: string]: string };
}

/** Nothing known yet. */
export function emptyRecord(): Record {
  return {
    job_id: null,
    status: null,
    seconds: { install: null, stack: null, model: null, train: null, total: null },
    train: null,
    heldout: null,
    adapter: { files: [] },
    versions: {},
  };
}

/** Succeeded, and better than the base in both measures: more exact answers (or all of them), and a lower loss. */
export function tunedIsBetter({ status, heldout }: Record): boolean {
  if (status !== "succeeded" || heldout === null) return false;
  const { rows, base_exact, tuned_exact, base_loss, tuned_loss } = heldout;
  return (tuned_exact > base_exact || (tuned_exact === rows && base_exact === rows)) &&
    tuned_loss < base_loss;
}

/** Writes it, whatever is known. */
export async function writeRecord(path: string, record: Record): Promise<void> {
  await Deno.mkdir(dirname(path), { recursive: true });
  await Deno.writeTextFile(path, JSON.stringify(record, null, 2) + "\n");
}

/** Three answers side by side, and the figures. */
export function printSummary(
  record: Record,
  samples: Evaluation["samples"],
  line: (text: string) => void,
): void {
  for (const { prompt, expected, base, tuned } of samples) {
    line(
      `\n  asked     ${clip(prompt)}\n  expected  ${clip(expected)}\n  base      ${clip(base)}\n  tuned     ${
        clip(tuned)
      }`,
    );
  }
  const { heldout, train, seconds } = record;
  if (heldout === null || train === null) return;
  line(`
  held-out rows ${heldout.rows}      base     tuned
  exact answers      ${String(heldout.base_exact).padStart(7)}   ${String(heldout.tuned_exact).padStart(7)}
  mean loss          ${heldout.base_loss.toFixed(3).padStart(7)}   ${
    heldout.tuned_loss.toFixed(3).padStart(7)
  }

  job        ${record.job_id} ${record.status}
  training   ${train.steps} steps, loss ${train.first_loss?.toFixed(3)} → ${train.last_loss?.toFixed(3)}, ${
    train.tokens_per_second?.toFixed(0)
  } tokens/s
  adapter    ${record.adapter.files.length} files, ${
    record.adapter.files.reduce((sum, file) => sum + file.bytes, 0)
  } bytes
  seconds    install ${seconds.install}, stack ${seconds.stack}, model ${seconds.model}, job ${seconds.train}, total ${seconds.total}

  ${tunedIsBetter(record) ? "The tuned model beats its base." : "The tuned model does NOT beat its base."}`);
}

const clip = (text: string) => {
  const flat = text.replaceAll(/\s+/g, " ");
  return flat.length > 96 ? `${flat.slice(0, 95)}…` : flat;
};
