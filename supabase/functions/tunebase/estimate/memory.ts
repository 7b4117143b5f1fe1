/**
 * How much of a GPU's memory a run takes, from what config.json says of the model: `contracts/gpu_memory.ts` on reckoned
 * counts, with what that model leaves out (logits, the allocator's losses) on top.
 */
import { limits } from "../../_shared/contracts/limits.ts";
import { memoryOf, neededBytes, sharedMemory } from "../../_shared/contracts/gpu_memory.ts";
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

/** Of a layer's linear modules: what seven of them take and give (four of attention, three of a 4-fold MLP), in hidden sizes. */
const adaptedSizes = 23;
/** Of a layer's insides per token, in hidden sizes: about. */
const insides = 34;
const gib = 2 ** 30;
/** What the allocator loses, and the kernels' workspaces; about. */
const lostBytes = 0.9 * gib;

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
  const quantized = parameters - embeddings;
  const memory = memoryOf({
    quantized,
    plain: embeddings,
    layers,
    hidden,
    trainable: plan.lora_rank * layers * adaptedSizes * hidden,
    dequantized: quantized / layers,
    reads: insides * hidden,
  });
  // The logits of a fourth of the tokens: in bf16, in fp32 and their gradient.
  const around = (tokens: number) => lostBytes + tokens / 4 * vocab * 10;
  const rows = Math.max(
    1,
    Math.min(plan.batch_size, Math.floor(limits.microBatchTokens / Math.max(1, longest))),
  );
  const whole = (tokens: number) => (neededBytes(memory, tokens) + around(tokens)) / gib;
  const part = sharedMemory(memory, gpu.num_gpus);
  const shared = (tokens: number) => (neededBytes(part, tokens) + around(tokens)) / gib;
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
