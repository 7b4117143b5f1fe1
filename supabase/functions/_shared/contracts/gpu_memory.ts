/**
 * GPU memory use of a run: base model in NF4 with double quantization, LoRA with AdamW, gradient checkpointing. The API
 * applies this formula to the model's configured dimensions, and the worker to the model itself before loading it
 * (`trainer/tunebase_trainer/training/gpu_memory.py`). Its constants are generated from this file, and the tests of both compute the
 * cases in `trainer/tests/contract_cases.json`.
 */
const gib = 2 ** 30;
export const gpuMemory = {
  /** Per parameter: half a byte, one byte of scale per 64, and four bytes per 64 × 256 (4.127 bits in total). */
  nf4Bytes: 0.5 + 1 / 64 + 4 / (64 * 256),
  /** Per trainable parameter: the weight, its gradient and AdamW's two moments, in fp32. */
  trainableBytes: 16,
  /** Per parameter that is not quantized: bf16. */
  plainBytes: 2,
  /** The CUDA context, libraries and kernels, approximately. */
  contextBytes: 0.6 * gib,
} as const;

/** Counts of a model's and adapter's parameters and activations. */
export interface MemoryCounts {
  /** Parameters in NF4 and in bf16. */
  quantized: number;
  plain: number;
  layers: number;
  hidden: number;
  trainable: number;
  /** Parameters dequantized to bf16 while their layer computes. */
  dequantized: number;
  /** Values per token that the matrices of one layer read. */
  reads: number;
}
/** Bytes. */
export interface Memory {
  base: number;
  packed: number;
  layers: number;
  adapter: number;
  layer: number;
  perToken: number;
}

/** Checkpointing keeps every layer's input for each token, and the inputs of one layer's matrices. */
export function memoryOf(counts: MemoryCounts): Memory {
  const { nf4Bytes, plainBytes, trainableBytes } = gpuMemory;
  const packed = nf4Bytes * counts.quantized;
  return {
    base: packed + plainBytes * counts.plain,
    packed,
    layers: counts.layers,
    adapter: trainableBytes * counts.trainable,
    layer: plainBytes * counts.dequantized,
    perToken: plainBytes * (counts.layers * counts.hidden + counts.reads),
  };
}

/** Memory per GPU if the base model is sharded: a shard of every layer, and one full layer. */
export function sharedMemory(memory: Memory, gpus: number): Memory {
  const { base, packed, layers } = memory;
  return { ...memory, base: base - packed + packed / gpus + packed / layers };
}

/** Bytes per GPU for this many tokens in one forward pass. */
export const neededBytes = ({ base, adapter, layer, perToken }: Memory, tokens: number): number =>
  gpuMemory.contextBytes + base + adapter + layer + perToken * tokens;
