/**
 * How much of a GPU's memory a run takes, from what config.json says of the model. Reckoned, not measured: the base in NF4
 * with double quantisation, LoRA on the seven linear layers of a block, Adam, gradient checkpointing.
 */
import type { Range } from "./statistics.ts";

export interface Shape {
  parameters: number | null;
  hidden_size: number | null;
  layers: number | null;
  vocab_size: number | null;
}
export interface MemoryEstimate {
  required_gb: Range | null;
  /** Of one GPU. Each holds the whole model, or its part where none has room for it. */
  available_gb: number | null;
  fits: boolean | null;
  basis: string;
}

/** 4 bits, and one scale of 8 bits for 64 weights with one of 32 bits for 256 of those: 4.127 bits a weight. */
const nf4Bytes = 4.127 / 8;
/** The trainer puts at most so many tokens through the model at once, and halves that when memory runs out. */
const microBatchTokens = 16_384;
const gib = 2 ** 30;

/**
 * `longest` is the longest row in tokens after cutting; `low` is a micro-batch of one row, which the trainer falls back
 * to, `expected` the one it begins with.
 */
export function estimateMemory(
  shape: Shape,
  gpu: { num_gpus: number; gpu_memory_gb: number },
  plan: { batch_size: number; lora_rank: number },
  longest: number,
): MemoryEstimate {
  const { parameters, hidden_size: hidden, layers, vocab_size: vocab } = shape;
  const available = gpu.gpu_memory_gb > 0 ? gpu.gpu_memory_gb : null;
  if (parameters === null || hidden === null || layers === null || vocab === null) {
    return {
      required_gb: null,
      available_gb: available,
      fits: null,
      basis:
        "Not known: the operator has not told this model's parameters, hidden_size, layers and vocab_size.",
    };
  }
  const embeddings = Math.min(2 * vocab * hidden, parameters);
  const packed = (parameters - embeddings) * nf4Bytes;
  // A block's linear layers take and give about 23 hidden sizes (four of attention, three of a 4-fold MLP); weight,
  // gradient and Adam's two moments in fp32.
  const lora = plan.lora_rank * layers * 23 * hidden * 16;
  // Two of bf16 a layer are kept for each token, and one block's insides at a time (about 34 hidden sizes); the logits
  // of a fourth of the tokens in bf16, fp32 and their gradient.
  const activations = (tokens: number) => tokens * hidden * (2 * layers + 34 * 2) + tokens / 4 * vocab * 10;
  // One block's weights in bf16 while it is computed, the CUDA context, and what the allocator loses.
  const around = (parameters - embeddings) / layers * 2 + 1.5 * gib;
  const rows = Math.max(1, Math.min(plan.batch_size, Math.floor(microBatchTokens / Math.max(1, longest))));
  const rest = embeddings * 2 + lora + around;
  const whole = (tokens: number) => (packed + rest + activations(tokens)) / gib;
  // As the trainer's shared_base.py: each has a part of every layer, and one layer whole.
  const shared = (tokens: number) =>
    (packed / gpu.num_gpus + packed / layers + rest + activations(tokens)) / gib;
  const share = available !== null && gpu.num_gpus > 1 && whole(longest) > available;
  const total = share ? shared : whole;
  const needed = {
    low: round(total(longest)),
    expected: round(total(longest * rows) * 1.1),
    high: round(total(longest * rows) * 1.4),
  };
  return {
    required_gb: needed,
    available_gb: available,
    fits: available === null ? null : needed.low <= available,
    basis: "Reckoned, not measured: the base in NF4, LoRA with Adam in fp32, checkpointed activations of " +
      `${rows} rows of ${longest} tokens at once; \`low\` is one row at once, to which the trainer falls back.` +
      (share ? ` None of the ${gpu.num_gpus} GPUs has room for the base: they share it.` : "") +
      (available === null ? " The model is trained on the CPU here." : ""),
  };
}

const round = (value: number) => Math.round(value * 10) / 10;
