/** OpenAI routes that are not supported: a clear error instead of a 404 that looks like a wrong base URL. */
import { ApiError } from "../../../_shared/errors.ts";

const notSupported = (what: string, instead: string) =>
  function rejectRequest(): Response {
    throw ApiError.of("unsupported", { what, instead });
  };

const checkpointPermissions = notSupported(
  "Sharing checkpoints between projects (checkpoints.permissions)",
  "Download one with GET /fine_tuning/jobs/{id}/checkpoints/{checkpoint}/adapter.",
);
const graders = notSupported(
  "Running graders (alpha.graders)",
  'The training methods are "supervised" and "dpo".',
);

/** For any method. Not in the OpenAPI document. */
export const unsupported = [
  { path: "/fine_tuning/checkpoints/*", handler: checkpointPermissions },
  { path: "/fine_tuning/alpha/graders/*", handler: graders },
];
