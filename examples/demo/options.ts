/** The demo's options. */
import { parseArgs } from "node:util";

export const help = `Fine-tunes a model on examples through the real API and shows what it has learned.

  npx -y deno@2.9.6 task demo [options]

  --data FILE           training rows, chat JSONL (examples/support-train.jsonl)
  --heldout FILE        rows to judge by, never uploaded (examples/support-heldout.jsonl)
  --model NAME          a model of GET /models (SmolLM2-135M-Instruct)
  --epochs N            1 to 20 (2)
  --batch-size N        rows a step, 1 to 64 (8)
  --learning-rate X     1e-5 to 1e-3 (1e-3)
  --lora-rank N         4 to 128 (16)
  --open                follow the job in the dashboard too: opens it, signed in, and keeps the stack up until Ctrl-C
  --help                this text

Without settings it runs on the embedded stack. With TUNEBASE_BASE_URL and TUNEBASE_API_KEY it uses that Tunebase, such
as one on a hosted Supabase project and a RunPod endpoint.`;

export interface Options {
  data: string;
  heldout: string;
  model: string;
  epochs: number;
  batchSize: number;
  learningRate: number;
  loraRank: number;
  /** Shows the dashboard, and stays. */
  open: boolean;
}

/** Reads the command line; null asks for the help. Throws an Error that names the option. */
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
    throw new Error("--data and --heldout go together: the rows to learn from, and others to judge by.");
  }
  const number = (
    name: "epochs" | "batch-size" | "learning-rate" | "lora-rank",
    least: number,
    most: number,
  ) => {
    const value = Number(values[name]);
    if (!(value >= least && value <= most) || (name !== "learning-rate" && !Number.isInteger(value))) {
      throw new Error(`--${name} ${values[name]}: must be from ${least} to ${most}.`);
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

/** Checks a file of rows before anything is started; returns how many rows it has. Throws an Error that names it. */
export async function countRows(option: string, path: string): Promise<number> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    const why = error instanceof Deno.errors.NotFound ? "there is no such file" : String(error);
    throw new Error(`${option} ${path}: ${why}.`);
  }
  const rows = text.split("\n").filter((line) => line.trim() !== "").length;
  if (rows === 0) {
    throw new Error(`${option} ${path}: has no rows. It must be JSON Lines, one chat row a line.`);
  }
  return rows;
}
