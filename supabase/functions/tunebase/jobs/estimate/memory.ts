/** Estimates GPU memory from the model's dimensions in config.json: applies `contracts/gpu_memory.ts`. */
import { limits } from "../../../_shared/contracts/limits.ts";
import {
  automaticQuantization,
  gpuMemory,
  isSharded,
  likelyBytes,
  type MemoryCounts,
  memoryOf,
  neededBytes,
  type Quantization,
  sharedMemory,
} from "../../../_shared/contracts/gpu_memory.ts";
import type { TrainingHyperparameters } from "../../../_shared/protocol.ts";
import type { Range } from "./statistics.ts";

export interface Shape {
  parameters: number | null;
  hidden_size: number | null;
  layers: number | null;
  vocab_size: number | null;
}
interface Gpu {
  num_gpus: number;
  gpu_memory_gb: number;
}
type Adapter = Pick<TrainingHyperparameters, "lora_rank" | "lora_variant">;
type Plan = Adapter & Pick<TrainingHyperparameters, "batch_size" | "quantization">;
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

/**
 * `longest`: the longest row in tokens, after truncation. `low` is for a micro-batch of one row, the trainer's fallback;
 * `expected` is for the largest micro-batch that it tries.
 */
export function estimateMemory(shape: Shape, gpu: Gpu, plan: Plan, longest: number): MemoryEstimate {
  const known = count(shape, plan);
  const available = gpu.gpu_memory_gb > 0 ? gpu.gpu_memory_gb : null;
  if (known === null) {
    return {
      required_gb: null,
      available_gb: available,
      fits: null,
      basis: "Unavailable: parameters, hidden_size, layers and vocab_size are not configured for this model.",
    };
  }
  const { counts, vocabulary } = known;
  const quantization = resolveQuantization(shape, gpu, plan, longest);
  const memory = memoryOf(counts, quantization);
  const largest = largestMicroBatch(plan.batch_size, gpu, longest);
  const sharded = available !== null && shards(gpu, quantization, known, longest);
  const onEach = sharded ? sharedMemory(memory, gpu.num_gpus) : memory;
  const total = (tokens: number) => likelyBytes(onEach, tokens, vocabulary) / gib;
  const required = {
    low: round(total(longest)),
    expected: round(total(largest) * gpuMemory.headroom),
    high: round(total(largest) * 1.4),
  };
  return {
    required_gb: required,
    available_gb: available,
    fits: available === null ? null : required.low <= available,
    basis:
      `Calculated, not measured: the base model in ${
        formatNames[quantization]
      }, LoRA with Adam in fp32, and ` +
      `checkpointed activations for micro-batches of up to ${largest} tokens. \`low\` is for the longest row alone, with ` +
      `${longest}, to which the trainer falls back.` +
      (sharded ? ` The base model does not fit on one GPU and is sharded across ${gpu.num_gpus}.` : "") +
      (available === null ? " This model is trained on the CPU." : ""),
  };
}

const formatNames: Record<Quantization, string> = { nf4: "NF4", none: "bf16" };

/** The run's quantization, with "auto" resolved: NF4 on a CPU, and if the model's dimensions are not configured. */
export function resolveQuantization(shape: Shape, gpu: Gpu, plan: Plan, longest: number): Quantization {
  if (plan.quantization !== "auto") return plan.quantization;
  const known = count(shape, plan);
  if (known === null || gpu.gpu_memory_gb === 0) return "nf4";
  const tokens = largestMicroBatch(plan.batch_size, gpu, longest);
  const gpus = canShard(plan) ? gpu.num_gpus : 1;
  return automaticQuantization(known.counts, tokens, known.vocabulary, gpu.gpu_memory_gb * gib, gpus);
}

/**
 * Whether the run shards the base in bf16 although an NF4 copy would fit on each GPU. bf16 is more accurate but slower:
 * every micro-batch gathers each layer.
 */
export function shardsByChoice(shape: Shape, gpu: Gpu, plan: Plan, longest: number): boolean {
  const known = count(shape, plan);
  return known !== null && gpu.gpu_memory_gb > 0 &&
    resolveQuantization(shape, gpu, plan, longest) === "none" &&
    shards(gpu, "none", known, longest) && !shards(gpu, "nf4", known, longest);
}

/** The trainer's DoRA and PiSSA need the whole base on each GPU. */
const canShard = ({ lora_variant }: Adapter) => lora_variant === "lora";

function shards(
  gpu: Gpu,
  quantization: Quantization,
  { counts, vocabulary }: Known,
  longest: number,
): boolean {
  const memory = memoryOf(counts, quantization);
  return isSharded(memory, longest, vocabulary, gpu.gpu_memory_gb * gib, gpu.num_gpus);
}

/** Why a base model cannot be trained in bf16 on these GPUs, even with the shortest rows; null if it may fit. */
export function explainUnquantizedMisfit(shape: Shape, gpu: Gpu, adapter: Adapter): string | null {
  const known = count(shape, adapter);
  if (known === null || gpu.gpu_memory_gb === 0) return null;
  const whole = memoryOf(known.counts, "none");
  const needed = Math.min(
    neededBytes(whole, 0),
    gpu.num_gpus > 1 ? neededBytes(sharedMemory(whole, gpu.num_gpus), 0) : Infinity,
  ) / gib;
  if (needed <= gpu.gpu_memory_gb) return null;
  return `in bf16, the base model and its adapter need at least about ${round(needed)} GB on each GPU, but ` +
    `${gpu.num_gpus} × ${gpu.gpu_memory_gb} GB are configured for this model. Use "nf4" or "auto".`;
}

interface Known {
  counts: MemoryCounts;
  vocabulary: number;
}

function count(shape: Shape, { lora_rank, lora_variant }: Adapter): Known | null {
  const { parameters, hidden_size: hidden, layers, vocab_size: vocabulary } = shape;
  if (parameters === null || hidden === null || layers === null || vocabulary === null) return null;
  const embeddings = Math.min(2 * vocabulary * hidden, parameters);
  const quantizable = parameters - embeddings;
  return {
    counts: {
      quantizable,
      plain: embeddings,
      layers,
      hidden,
      // PiSSA's adapter has twice the rank: see `trainer/tunebase_trainer/model/lora_variants.py`.
      trainable: (lora_variant === "pissa" ? 2 : 1) * lora_rank * layers * adaptedSizes * hidden,
      dequantized: quantizable / layers,
      reads: layerActivations * hidden,
    },
    vocabulary,
  };
}

/** Each GPU gets its share of a batch. */
const largestMicroBatch = (batchSize: number, { num_gpus }: Gpu, longest: number) =>
  Math.max(longest, Math.min(Math.floor(batchSize / num_gpus) * longest, limits.microBatchTokens));

const round = (value: number) => Math.round(value * 10) / 10;
