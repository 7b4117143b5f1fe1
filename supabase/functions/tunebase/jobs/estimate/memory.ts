/**
 * Estimates GPU memory from the model's dimensions in config.json: applies `contracts/gpu_memory.ts` and adds what it leaves
 * out (logits, allocator overhead).
 */
import { limits } from "../../../_shared/contracts/limits.ts";
import { memoryOf, neededBytes, sharedMemory } from "../../../_shared/contracts/gpu_memory.ts";
import type { Range } from "./statistics.ts";

export interface Shape {
  parameters: number | null;
  hidden_size: number | null;
  layers: number | null;
  vocab_size: number | null;
}
export interface MemoryEstimate {
  required_gb: Range | null;
  /** Per GPU. Each holds the whole model, or a shard if the model does not fit. */
  available_gb: number | null;
  fits: boolean | null;
  basis: string;
}

/** Inputs plus outputs of a layer's seven linear modules (four of attention, three of a 4× MLP), in hidden sizes. */
const adaptedSizes = 23;
/** A layer's activations per token, in hidden sizes, approximately. */
const layerActivations = 34;
const gib = 2 ** 30;
/** Allocator fragmentation and kernel workspaces, approximately. */
const overheadBytes = 0.9 * gib;

/**
 * `longest`: the longest row in tokens, after truncation. `low` is for a micro-batch of one row, to which the trainer falls
 * back; `expected` is for the largest one that it starts with.
 */
export function estimateMemory(
  shape: Shape,
  gpu: { num_gpus: number; gpu_memory_gb: number },
  plan: { batch_size: number; lora_rank: number; lora_variant: string },
  longest: number,
): MemoryEstimate {
  const { parameters, hidden_size: hidden, layers, vocab_size: vocab } = shape;
  const available = gpu.gpu_memory_gb > 0 ? gpu.gpu_memory_gb : null;
  if (parameters === null || hidden === null || layers === null || vocab === null) {
    return {
      required_gb: null,
      available_gb: available,
      fits: null,
      basis: "Unavailable: parameters, hidden_size, layers and vocab_size are not configured for this model.",
    };
  }
  const embeddings = Math.min(2 * vocab * hidden, parameters);
  const quantized = parameters - embeddings;
  const memory = memoryOf({
    quantized,
    plain: embeddings,
    layers,
    hidden,
    // PiSSA's adapter has twice the rank: see `trainer/tunebase_trainer/model/lora_variants.py`.
    trainable: (plan.lora_variant === "pissa" ? 2 : 1) * plan.lora_rank * layers * adaptedSizes * hidden,
    dequantized: quantized / layers,
    reads: layerActivations * hidden,
  });
  // Logits of a quarter of the tokens, in bf16, in fp32, and their gradient.
  const outside = (tokens: number) => overheadBytes + tokens / 4 * vocab * 10;
  const largest = Math.max(longest, Math.min(plan.batch_size * longest, limits.microBatchTokens));
  const whole = (tokens: number) => (neededBytes(memory, tokens) + outside(tokens)) / gib;
  const shard = sharedMemory(memory, gpu.num_gpus);
  const sharded = (tokens: number) => (neededBytes(shard, tokens) + outside(tokens)) / gib;
  const isSharded = available !== null && gpu.num_gpus > 1 && whole(longest) > available;
  const total = isSharded ? sharded : whole;
  const required = {
    low: round(total(longest)),
    expected: round(total(largest) * 1.1),
    high: round(total(largest) * 1.4),
  };
  return {
    required_gb: required,
    available_gb: available,
    fits: available === null ? null : required.low <= available,
    basis:
      "Calculated, not measured: the base model in NF4, LoRA with Adam in fp32, and checkpointed activations for " +
      `micro-batches of up to ${largest} tokens. \`low\` is for the longest row, with ${longest}, to which the trainer ` +
      "falls back." +
      (isSharded ? ` The base model does not fit on one GPU and is sharded across ${gpu.num_gpus}.` : "") +
      (available === null ? " This model is trained on the CPU." : ""),
  };
}

const round = (value: number) => Math.round(value * 10) / 10;
