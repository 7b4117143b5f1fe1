/** RunPod's serverless GPU pools: which ones a model needs, and approximately how fast they train it. */
import {
  gpuMemory,
  likelyBytes,
  memoryOf,
  type Quantization,
} from "../supabase/functions/_shared/contracts/gpu_memory.ts";
import { limits } from "../supabase/functions/_shared/contracts/limits.ts";

interface Pool {
  id: string;
  /** GB per GPU. */
  memory: number;
  /** Peak dense bf16 TFLOP/s of the pool's slowest GPU, from NVIDIA's data sheets. */
  teraflops: number;
}

/** By memory, then price. All have compute capability 8.0 or newer, which bf16 requires. */
export const pools: Pool[] = [
  { id: "AMPERE_24", memory: 24, teraflops: 71 },
  { id: "ADA_24", memory: 24, teraflops: 165 },
  { id: "AMPERE_48", memory: 48, teraflops: 150 },
  { id: "ADA_48_PRO", memory: 48, teraflops: 181 },
  { id: "AMPERE_80", memory: 80, teraflops: 312 },
  { id: "ADA_80_PRO", memory: 80, teraflops: 756 },
  { id: "HOPPER_141", memory: 141, teraflops: 989 },
  { id: "BLACKWELL_180", memory: 180, teraflops: 2250 },
];

/** A model's dimensions in its config.json. */
export interface Dimensions {
  parameters: number;
  /** For a mixture of experts: the parameters that one token uses. */
  active_parameters?: number | undefined;
  hidden_size: number;
  layers: number;
  vocab_size: number;
}

/** Inputs plus outputs of a layer's seven linear modules, and its activations per token, in hidden sizes. */
const adaptedSizes = 23;
const layerActivations = 34;
const rank = 16;
const gib = 2 ** 30;

/** GiB to train with a LoRA rank of 16 and full micro-batches of rows with up to 2,048 tokens, approximately. */
export function trainingMemory(model: Dimensions, quantization: Quantization): number {
  const { parameters, hidden_size: hidden, layers, vocab_size } = model;
  const embeddings = Math.min(2 * vocab_size * hidden, parameters);
  const quantizable = parameters - embeddings;
  const memory = memoryOf({
    quantizable,
    plain: embeddings,
    layers,
    hidden,
    trainable: rank * layers * adaptedSizes * hidden,
    dequantized: quantizable / layers,
    reads: layerActivations * hidden,
  }, quantization);
  return likelyBytes(memory, Math.min(limits.microBatchTokens, 8 * 2048), vocab_size) / gib;
}

/**
 * Pools to train a model on, in order of preference: those that hold it in bf16 if 80 GB are enough for that, else in NF4.
 * null: no single GPU is large enough.
 */
export function suggestTrainingPools(model: Dimensions): string[] | null {
  const plain = gpuMemory.headroom * trainingMemory(model, "none");
  return cheapest(plain <= 80 ? plain : gpuMemory.headroom * trainingMemory(model, "nf4"));
}

/** Pools to serve a model on in bf16. vLLM uses 90% of the memory and needs some GB for its cache and adapters. */
export function suggestInferencePools(model: Dimensions): string[] | null {
  return cheapest((2 * model.parameters * 1.1 / gib + 6) / 0.9);
}

/** The three cheapest pools with this memory. */
function cheapest(memory: number): string[] | null {
  const enough = pools.filter((pool) => pool.memory >= memory).map(({ id }) => id).slice(0, 3);
  return enough.length === 0 ? null : enough;
}

/**
 * Tokens per second on one GPU of a pool: calculated, not measured, and conservative. A token costs 6 operations
 * per parameter: forward, recomputed forward, and backward without weight gradients. Utilization is assumed to be 30 %,
 * and 10 % for mixtures of experts. null: the pool is unknown.
 */
export function expectedThroughput(model: Dimensions, pool: string): number | null {
  const known = pools.find(({ id }) => id === pool);
  if (known === undefined) return null;
  const active = model.active_parameters ?? model.parameters;
  const utilization = model.active_parameters === undefined ? 0.3 : 0.1;
  // Small models are bound by kernel launches and data, not by arithmetic.
  const perSecond = Math.min(30_000, known.teraflops * 1e12 * utilization / (6 * active));
  return Number(perSecond.toPrecision(2));
}
