/** Limits that more than one place states: the API's checks, the protocol, the forms, the documentation. */
export const limits = {
  /** Of a job. */
  metadataKeys: 16,
  metadataKeyLength: 64,
  metadataValueLength: 512,
  suffixLength: 64,
  minSpendCapUsd: 0.0001,
  maxSpendCapUsd: 1_000_000,
  /** Of one worker. */
  maxGpus: 8,
  /** Of one callback of the trainer. */
  metricsPerReport: 500,
  eventsPerReport: 100,
  checkpointsPerReport: 10,
  filesPerArtifact: 100,
  /** Tokens that the trainer puts through the model at once, if memory allows. */
  microBatchTokens: 16_384,
} as const;
