/** How often a run validates unless `eval_steps` is set. `trainer/tunebase_trainer/training/schedule.py` implements the same. */
const automaticValidations = 10;
/**
 * Automatic validations read at most this many tokens per training token. A forward pass costs a third of a training
 * step, so they add at most a sixth to the training time.
 */
const maxTokenShare = 1 / 2;

/**
 * Optimizer steps between two validations: about ten validations per run, fewer where many validation rows would make
 * them expensive, and at least one per epoch. The tokens are those of the whole run and of one validation.
 */
export function automaticEvalSteps(
  totalSteps: number,
  epochs: number,
  trainingTokens: number,
  validationTokens: number,
): number {
  const affordable = Math.floor(trainingTokens * maxTokenShare / Math.max(1, validationTokens));
  const validations = Math.max(epochs, Math.min(automaticValidations, affordable));
  return Math.max(1, Math.floor(totalSteps / validations + 0.5));
}

/** The last step is always validated. */
export const validationCount = (totalSteps: number, evalSteps: number) => Math.ceil(totalSteps / evalSteps);
