/** The trainer's own counts for a file. One Python process serves all calls: its imports take seconds of CPU. */
import { assert } from "#assert";
import { fromFileUrl } from "../../local/paths.ts";

const here = (path: string) => fromFileUrl(new URL(path, import.meta.url));

/** Reads lines of arguments and answers each with a line of numbers. */
const program = `
import json, sys
from pathlib import Path
from transformers import PreTrainedTokenizerFast
from tunebase_trainer.data import dataset
from tunebase_trainer.data.split import split

# By its class: AutoTokenizer imports every other one, and torch.
tokenizer = PreTrainedTokenizerFast.from_pretrained(sys.argv[1])
for line in sys.stdin:
    asked = json.loads(line)
    d = dataset.read(Path(asked["path"]), tokenizer, asked["max_length"], method=asked["method"])
    if asked["share"] is None:
        answer = [d.tokens, d.learned_tokens, len(d.rows), d.truncated]
    else:
        answer = [n for side in split(d, asked["share"], asked["seed"]) for n in (len(side.rows), side.tokens)]
    print("answer", json.dumps(answer), flush=True)
`;

interface Asked {
  path: string;
  max_length: number;
  method: string;
  share: number | null;
  seed: number;
}

export class TrainerCounts {
  #child: Deno.ChildProcess | null = null;
  #lines: AsyncIterator<string> | null = null;

  /** Tokens, trainable tokens, rows and truncated rows. */
  async counts(path: string, maxLength: number, method = "supervised") {
    const [tokens = 0, trainable, rows, cut = 0] = await this.#ask({
      path,
      max_length: maxLength,
      method,
      share: null,
      seed: 0,
    });
    return { tokens, trainable, rows, truncated: cut };
  }

  /** Of a split: training rows and tokens, held-out rows and tokens. */
  splits(path: string, share: number, seed: number): Promise<number[]> {
    return this.#ask({ path, max_length: 2048, method: "supervised", share, seed });
  }

  async close(): Promise<void> {
    this.#child?.kill();
    await this.#child?.status;
    await this.#lines?.return?.();
    await this.#child?.stdin.close().catch(() => {}); // it has ended
  }

  async #ask(asked: Asked): Promise<number[]> {
    this.#child ??= new Deno.Command(here("../../trainer/.venv/bin/python"), {
      args: ["-c", program, here("../fixtures/tokenizer")],
      cwd: here("../../trainer"),
      env: { HF_HUB_OFFLINE: "1" },
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    this.#lines ??= linesOf(this.#child.stdout);
    const writer = this.#child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(`${JSON.stringify(asked)}\n`));
    writer.releaseLock();
    for (;;) {
      const { done, value } = await this.#lines.next();
      assert(done !== true, "the trainer's program has ended: see its stderr");
      if (value.startsWith("answer ")) return JSON.parse(value.slice("answer ".length));
    }
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<string> {
  let text = "";
  for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (text + chunk).split("\n");
    text = lines.pop() ?? "";
    yield* lines;
  }
}
