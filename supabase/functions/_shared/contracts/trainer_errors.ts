/** The trainer's error codes, and who caused the error: only infrastructure errors are retried. */
export const trainerFaults = {
  invalid_input: "user",
  dataset_unreachable: "infrastructure",
  invalid_dataset: "user",
  no_trainable_rows: "user",
  base_model_not_found: "operator",
  base_model_unreachable: "infrastructure",
  no_chat_template: "operator",
  unsupported_gpu: "operator",
  gpu_unavailable: "infrastructure",
  out_of_memory: "user",
  non_finite_loss: "user",
  disk_full: "infrastructure",
  callback_unreachable: "infrastructure",
  upload_failed: "infrastructure",
  trainer_killed: "infrastructure",
  internal_error: "infrastructure",
} as const satisfies Record<string, "user" | "operator" | "infrastructure">;
export type TrainerErrorCode = keyof typeof trainerFaults;

const isCode = (name: string): name is TrainerErrorCode => name in trainerFaults;
export const trainerErrorCodes: TrainerErrorCode[] = Object.keys(trainerFaults).filter(isCode);
