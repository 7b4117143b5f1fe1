/** Queries about models. */
import { ApiError, unwrap } from "../../client/mod.ts";
import { CliError, exitCodes } from "../errors.ts";
import { resolveJob } from "./job_reference.ts";
import type { Session } from "./session.ts";

/** Resolves a model argument. A job's ID or `latest` means the model that the job created. */
export async function resolveModel(session: Session, text: string): Promise<string> {
  if (text !== "latest" && !text.startsWith("ftjob-")) return text;
  const id = await resolveJob(session, text);
  const job = unwrap(
    await session.api.GET("/fine_tuning/jobs/{id}", { params: { path: { id } } }),
  );
  if (job.fine_tuned_model !== null) return job.fine_tuned_model;
  throw new CliError(
    `${id} has no model: it is ${job.status}. Run \`tunebase jobs get ${id}\` for details.`,
  );
}

/** The base model of a fine-tuned model or of a checkpoint. Throws for a base model. */
export async function findBase({ api }: Session, model: string): Promise<string> {
  const id = model.replace(/:ckpt-step-\d+$/, "");
  const checkpoint = /^ft:(.+):ftjob-[0-9a-f]+$/.exec(id)?.[1];
  if (model !== id && checkpoint !== undefined) return checkpoint;
  const found = unwrap(await api.GET("/models/{id}", { params: { path: { id: model } } }));
  if ("base_model" in found) return found.base_model;
  throw new CliError(`${model} is already a base model. Omit --base.`, exitCodes.usage);
}

/** Throws the API's error if the model does not exist. */
export async function requireModel({ api }: Session, id: string): Promise<void> {
  // The API accepts names of checkpoints but does not list them.
  if (/:ckpt-step-\d+$/.test(id)) return;
  try {
    unwrap(await api.GET("/models/{id}", { params: { path: { id } } }));
  } catch (error) {
    // A key may create jobs without `models:read`; the API then checks the model later.
    if (!(error instanceof ApiError && error.code === "insufficient_scope")) throw error;
  }
}
