/**
 * GPU memory use of a run: base model in NF4 with double quantization or in bf16, LoRA with AdamW, gradient checkpointing.
 * The API applies this formula to the model's configured dimensions, and the worker to the model itself before loading it
 * (`trainer/tunebase_trainer/training/gpu_memory.py`). Its constants are generated from this file, and the tests of both compute the
 * cases in `trainer/tests/contract_cases.json`.
 */
const gib = 2 ** 30;
export const gpuMemory = {
  /** Per parameter: half a byte, one byte of scale per 64, and four bytes per 64 × 256 (4.127 bits in total). */
  nf4Bytes: 0.5 + 1 / 64 + 4 / (64 * 256),
  /** Per trainable parameter: the weight, its gradient and AdamW's two moments, in fp32. */
  trainableBytes: 16,
  /** Per unquantized parameter: bf16. */
  plainBytes: 2,
  /** The CUDA context, libraries and kernels, approximately. */
  contextBytes: 0.6 * gib,
  /** Complete layers on each GPU while a base in bf16 is sharded: FSDP2 computes one, and gathers and unpacks the next. */
  plainLayers: 3,
  /** Allocator fragmentation and kernel workspaces, approximately. */
  overheadBytes: 0.9 * gib,
  /** Per token and vocabulary entry: logits of a quarter of the tokens, in bf16, in fp32, and their gradient. */
  logitBytes: 10 / 4,
  /** A safety factor for the expected use: activations differ between architectures. */
  headroom: 1.1,
} as const;

/** The base model's number format in memory; `none` is bf16. */
export type Quantization = "nf4" | "none";

/** Counts of a model's and adapter's parameters and activations. */
export interface MemoryCounts {
  /** Parameters that NF4 quantizes, and those that stay in bf16. */
  quantizable: number;
  plain: number;
  layers: number;
  hidden: number;
  trainable: number;
  /** Parameters dequantized to bf16 while their layer computes, if the base is in NF4. */
  dequantized: number;
  /** Input values per token of one layer's matrices. */
  reads: number;
}
/** Bytes. */
export interface Memory {
  base: number;
  /** The part of `base` that can be sharded: its layers' matrices. */
  matrices: number;
  layers: number;
  /** Complete layers on each GPU while the base is sharded. */
  wholeLayers: number;
  adapter: number;
  layer: number;
  perToken: number;
}

/** Checkpointing keeps every layer's input for each token, and the inputs of one layer's matrices. */
export function memoryOf(counts: MemoryCounts, quantization: Quantization): Memory {
  const { nf4Bytes, plainBytes, plainLayers, trainableBytes } = gpuMemory;
  const nf4 = quantization === "nf4";
  const matrices = (nf4 ? nf4Bytes : plainBytes) * counts.quantizable;
  return {
    base: matrices + plainBytes * counts.plain,
    matrices,
    layers: counts.layers,
    wholeLayers: nf4 ? 1 : plainLayers,
    adapter: trainableBytes * counts.trainable,
    layer: nf4 ? plainBytes * counts.dequantized : 0,
    perToken: plainBytes * (counts.layers * counts.hidden + counts.reads),
  };
}

/** Memory per GPU if the base model is sharded: a shard of every layer, plus the layers that are gathered. */
export function sharedMemory(memory: Memory, gpus: number): Memory {
  const { base, matrices, layers, wholeLayers } = memory;
  return { ...memory, base: base - matrices + matrices / gpus + wholeLayers * matrices / layers };
}

/** Bytes per GPU for this many tokens in one forward pass. A lower bound: a run that needs more than the GPU has cannot start. */
export const neededBytes = ({ base, adapter, layer, perToken }: Memory, tokens: number): number =>
  gpuMemory.contextBytes + base + adapter + layer + perToken * tokens;

/** The expected use: the lower bound plus approximations of what depends on kernels and data. */
export const likelyBytes = (memory: Memory, tokens: number, vocabulary: number): number =>
  neededBytes(memory, tokens) + gpuMemory.overheadBytes + gpuMemory.logitBytes * tokens * vocabulary;

/**
 * Whether to shard the base across `gpus` instead of loading all of it on each: a single GPU probably cannot hold it
 * together with `tokens`, the longest row.
 */
export const isSharded = (
  memory: Memory,
  tokens: number,
  vocabulary: number,
  available: number,
  gpus: number,
): boolean => gpus > 1 && likelyBytes(memory, tokens, vocabulary) > available;

/**
 * Resolves `auto` for GPUs with `available` bytes each: bf16 if the base and full micro-batches fit on each GPU, whole or
 * sharded across `gpus`; otherwise NF4.
 */
export function automaticQuantization(
  counts: MemoryCounts,
  tokens: number,
  vocabulary: number,
  available: number,
  gpus: number,
): Quantization {
  const whole = memoryOf(counts, "none");
  const layouts = gpus > 1 ? [whole, sharedMemory(whole, gpus)] : [whole];
  const fits = layouts.some((layout) =>
    gpuMemory.headroom * likelyBytes(layout, tokens, vocabulary) <= available
  );
  return fits ? "none" : "nf4";
}
