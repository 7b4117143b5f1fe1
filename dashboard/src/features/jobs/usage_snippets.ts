/** Code that uses an adapter, with and without Tunebase. It runs as pasted. */
import type { Schemas } from "../../../../client/mod.ts";
import type { Job, Snippet } from "../../lib/types.ts";
import { languages, snippet } from "../playground/snippets.ts";

type Adapter = Schemas["Adapter"];

/** The ranks that vLLM's --max-lora-rank accepts. */
const vllmRanks = [8, 16, 32, 64, 128, 256];
const question = "Where is my order?";

/** Calls of the API by the model's name, if the model can be called. */
export const apiSnippets = (apiUrl: string, model: string): Snippet[] =>
  languages.map((language) => ({
    label: language,
    text: snippet(language, apiUrl, { model, messages: [{ role: "user", content: question }] }),
  }));

/** After a download to ./adapter. `base_source` is a Hugging Face ID, or a package of the worker. */
export function localSnippets(adapter: Adapter, job: Job): Snippet[] {
  const { base_source, base_revision, files } = adapter;
  const isPackage = base_source.startsWith("package:");
  const base = isPackage ? "./base" : base_source;
  const note = isPackage
    ? `# Replace ./base with the path of ${base_source}, which is not on Hugging Face.\n`
    : "";
  const revision = isPackage ? null : base_revision;
  const gguf = files.find(({ path }) => path.endsWith(".gguf"))?.path;
  return [
    { label: "PEFT", text: note + peft(base, revision) },
    { label: "vLLM", text: note + vllm(base, revision, job) },
    {
      label: "llama.cpp",
      text: gguf === undefined
        ? `${note}# To get a .gguf file in the download instead, create the fine-tune with the export format GGUF.
git clone https://github.com/ggml-org/llama.cpp && pip install -r llama.cpp/requirements.txt
python llama.cpp/convert_lora_to_gguf.py ./adapter --base-model-id ${base} --outfile adapter.gguf
llama-server -m base.gguf --lora adapter.gguf  # base.gguf: the base model in GGUF`
        : `llama-server -m ./adapter/${gguf}`,
    },
  ];
}

const peft = (base: string, revision: string | null) =>
  `# pip install torch transformers peft accelerate
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("./adapter")
base = AutoModelForCausalLM.from_pretrained(${JSON.stringify(base)}${
    revision === null ? "" : `, revision=${JSON.stringify(revision)}`
  }, dtype="bfloat16")
model = PeftModel.from_pretrained(base, "./adapter")

prompt = tokenizer.apply_chat_template(
    [{"role": "user", "content": ${JSON.stringify(question)}}],
    add_generation_prompt=True, return_tensors="pt", return_dict=True,
)
output = model.generate(**prompt, max_new_tokens=200)
print(tokenizer.decode(output[0, prompt["input_ids"].shape[1]:], skip_special_tokens=True))`;

function vllm(base: string, revision: string | null, { hyperparameters }: Job): string {
  const { lora_rank, lora_variant } = hyperparameters;
  if (lora_variant === "dora") {
    return `# vLLM does not serve DoRA adapters. Merge this one with PeftModel.merge_and_unload(), or create the
# fine-tune with the export format "Merged model".`;
  }
  // PiSSA's adapter has twice the rank.
  const rank = (typeof lora_rank === "number" ? lora_rank : 16) * (lora_variant === "pissa" ? 2 : 1);
  return `# pip install vllm
vllm serve ${base}${revision === null ? "" : ` --revision ${revision}`} \\
  --enable-lora --max-lora-rank ${vllmRanks.find((each) => each >= rank) ?? rank} \\
  --lora-modules tuned=./adapter --chat-template ./adapter/chat_template.jinja
# Then request "model": "tuned".`;
}
