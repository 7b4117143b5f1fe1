/** Limits that several places use: the API's validation, the protocol, forms and documentation. */
export const limits = {
  /** Per job. */
  metadataKeys: 16,
  metadataKeyLength: 64,
  metadataValueLength: 512,
  suffixLength: 64,
  minSpendCapUsd: 0.0001,
  maxSpendCapUsd: 1_000_000,
  /** Per worker. */
  maxGpus: 8,
  /** Per callback. */
  metricsPerReport: 500,
  eventsPerReport: 100,
  checkpointsPerReport: 10,
  filesPerArtifact: 100,
  /** The scheduler is late if its last tick ended longer ago. The timer starts one every 10 seconds. */
  maxTickAgeSeconds: 60,
  /** Maximum tokens per forward pass, if memory allows. */
  microBatchTokens: 16_384,
} as const;
