/** What OpenAI's SDKs can ask for and is not offered: a clear sentence, and not a 404 that looks like a wrong address. */
import { ApiError } from "../../../_shared/errors.ts";

const refuse = (what: string, instead: string) =>
  function notOffered(): Response {
    throw ApiError.of("unsupported", { what, instead });
  };

const checkpointPermissions = refuse(
  "Sharing checkpoints between projects (checkpoints.permissions)",
  "Download one with GET /fine_tuning/jobs/{id}/checkpoints/{checkpoint}/adapter.",
);
const graders = refuse(
  "Running graders (alpha.graders), as reinforcement fine-tuning",
  'Jobs are trained with method "supervised" or "dpo".',
);

/** Whatever the method is. No part of the OpenAPI document. */
export const unsupported = [
  { path: "/fine_tuning/checkpoints/*", handler: checkpointPermissions },
  { path: "/fine_tuning/alpha/graders/*", handler: graders },
];
