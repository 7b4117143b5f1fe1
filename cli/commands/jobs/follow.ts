/** `jobs follow`, and the `--follow` of `jobs create`. */
import process from "node:process";
import { resolveJob } from "../../api/job_reference.ts";
import { openSession, type Session } from "../../api/session.ts";
import type { CommonOptions } from "../../command.ts";
import { followJob } from "../../jobs/job_follower.ts";

export async function follow(id: string, options: CommonOptions): Promise<void> {
  const session = await openSession();
  await followWithExitCode(session, await resolveJob(session, id), options);
}

/** Follows a job. Its outcome determines the exit code. */
export async function followWithExitCode(
  session: Session,
  id: string,
  options: CommonOptions,
): Promise<void> {
  process.exitCode = await followJob(session, id, Boolean(options.json));
}
