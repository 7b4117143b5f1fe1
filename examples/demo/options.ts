/** The demo's command-line options. */
import { parseArgs } from "node:util";

export const help = `Fine-tunes a model through the API and compares it with its base model.

  npx -y deno@2.9.6 task demo [options]

  --data FILE           training rows, chat JSONL (default: examples/support-train.jsonl)
  --heldout FILE        evaluation rows, never uploaded (default: examples/support-heldout.jsonl)
  --model NAME          a base model of the server (default: SmolLM2-135M-Instruct)
  --epochs N            1 to 20 (default: 2)
  --batch-size N        rows per step, 1 to 64 (default: 8)
  --learning-rate X     1e-5 to 1e-3 (default: 1e-3)
  --lora-rank N         4 to 128 (default: 16)
  --open                open the job in the dashboard and keep the stack running until Ctrl-C
  --help                show this help

By default the demo runs on the embedded stack. Set TUNEBASE_BASE_URL and TUNEBASE_API_KEY to run it on another server,
such as a hosted Supabase project with a RunPod endpoint.`;

export interface Options {
  data: string;
  heldout: string;
  model: string;
  epochs: number;
  batchSize: number;
  learningRate: number;
  loraRank: number;
  /** Opens the dashboard and keeps running. */
  open: boolean;
}

/** Parses the command line; null means --help. Throws an Error that names an invalid option. */
export function readOptions(args: string[], examples: string): Options | null {
  const { values } = parseArgs({
    args,
    options: {
      data: { type: "string" },
      heldout: { type: "string" },
      model: { type: "string", default: "SmolLM2-135M-Instruct" },
      epochs: { type: "string", default: "2" },
      "batch-size": { type: "string", default: "8" },
      "learning-rate": { type: "string", default: "1e-3" },
      "lora-rank": { type: "string", default: "16" },
      open: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) return null;
  if ((values.data === undefined) !== (values.heldout === undefined)) {
    throw new Error("Pass --data and --heldout together: training rows, and separate rows for evaluation.");
  }
  const number = (
    name: "epochs" | "batch-size" | "learning-rate" | "lora-rank",
    min: number,
    max: number,
  ) => {
    const value = Number(values[name]);
    if (!(value >= min && value <= max) || (name !== "learning-rate" && !Number.isInteger(value))) {
      throw new Error(`--${name} ${values[name]}: must be from ${min} to ${max}.`);
    }
    return value;
  };
  return {
    data: values.data ?? `${examples}support-train.jsonl`,
    heldout: values.heldout ?? `${examples}support-heldout.jsonl`,
    model: values.model,
    epochs: number("epochs", 1, 20),
    batchSize: number("batch-size", 1, 64),
    learningRate: number("learning-rate", 1e-5, 1e-3),
    loraRank: number("lora-rank", 4, 128),
    open: values.open,
  };
}

/** Counts the rows of a file, before anything is started. Throws an Error when it cannot be read or is empty. */
export async function countRows(option: string, path: string): Promise<number> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    const reason = error instanceof Deno.errors.NotFound ? "the file does not exist" : String(error);
    throw new Error(`${option} ${path}: ${reason}.`);
  }
  const rows = text.split("\n").filter((line) => line.trim() !== "").length;
  if (rows === 0) {
    throw new Error(`${option} ${path}: the file is empty. It must be JSON Lines with one chat per line.`);
  }
  return rows;
}
