/**
 * How much of a GPU's memory a run takes: the base in NF4 with double quantization, LoRA with AdamW, gradient
 * checkpointing. One model, used twice: the API applies it to the few figures that an operator gives of a model, the worker
 * to the model itself before it loads it (`trainer/tunebase_trainer/training/gpu_memory.py`). The constants there are generated from
 * here, and both compute the cases of `trainer/tests/contract_cases.json`.
 */
const gib = 2 ** 30;
export const gpuMemory = {
  /** Bytes per parameter: half a byte, a scale of one byte for 64, and of four bytes for 64 × 256 (4.127 bits). */
  nf4Bytes: 0.5 + 1 / 64 + 4 / (64 * 256),
  /** Bytes per trainable parameter: itself, its gradient and AdamW's two moments, in fp32. */
  trainableBytes: 16,
  /** Bytes per parameter of what is not quantized: bf16. */
  plainBytes: 2,
  /** What CUDA, its libraries and their kernels take before the first tensor; about. */
  contextBytes: 0.6 * gib,
} as const;

/** What of a model and its adapter takes memory, as counts of parameters and of values. */
export interface MemoryCounts {
  /** Parameters in NF4, and those that stay in bf16. */
  quantized: number;
  plain: number;
  layers: number;
  hidden: number;
  trainable: number;
  /** Parameters that are in bf16 only while their layer computes. */
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

/** With checkpointing each layer's input is kept for every token, and what the matrices of one layer read. */
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

/** Each GPU's, where they share the base: its part of every layer, and one layer whole. */
export function sharedMemory(memory: Memory, gpus: number): Memory {
  const { base, packed, layers } = memory;
  return { ...memory, base: base - packed + packed / gpus + packed / layers };
}

/** Bytes of one GPU with so many tokens in the model at once. */
export const neededBytes = ({ base, adapter, layer, perToken }: Memory, tokens: number): number =>
  gpuMemory.contextBytes + base + adapter + layer + perToken * tokens;
