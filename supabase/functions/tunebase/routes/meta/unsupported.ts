/** What OpenAI's SDKs can ask for and is not offered: a clear sentence, and not a 404 that looks like a wrong address. */
import { ApiError } from "../../../_shared/errors.ts";

const refuse = (what: string, instead: string) =>
  function notOffered(): Response {
    throw ApiError.of("unsupported", { what, instead });
  };

export const checkpointPermissions = refuse(
  "Sharing checkpoints between projects (checkpoints.permissions)",
  "Download one with GET /fine_tuning/jobs/{id}/checkpoints/{checkpoint}/adapter.",
);
export const graders = refuse(
  "Running graders (alpha.graders), as reinforcement fine-tuning",
  'Jobs are trained with method "supervised" or "dpo".',
);
