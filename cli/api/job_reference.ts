/** Resolves a job argument: an ID, the beginning of an ID, or `latest`. */
import { unwrap } from "../../client/mod.ts";
import { CliError, exitCodes } from "../errors.ts";
import type { Session } from "./session.ts";

const fullId = /^ftjob-[0-9a-f]{32}$/;
/** IDs as users copy them: without the prefix, or truncated with an ellipsis. */
const partialId = /^(?:ftjob-)?([0-9a-f]{1,32})(?:…|\.{3})?$/;
const pageSize = 100;
const maxListed = 5;

/** The job's ID. Returns a full ID without a request, and leaves it to the API to reject invalid ones. */
export async function resolveJob(session: Session, text: string): Promise<string> {
  if (fullId.test(text)) return text;
  if (text === "latest") return await latestJob(session);
  const [, digits] = partialId.exec(text) ?? [];
  if (digits === undefined) return text;
  return await findJob(session, `ftjob-${digits}`);
}

async function latestJob({ api }: Session): Promise<string> {
  const [job] = unwrap(await api.GET("/fine_tuning/jobs", { params: { query: { limit: 1 } } })).data;
  if (job === undefined) {
    throw new CliError("No jobs yet. Create one with `tunebase jobs create rows.jsonl`.");
  }
  return job.id;
}

async function findJob({ api }: Session, prefix: string): Promise<string> {
  const found: string[] = [];
  for (let after: string | null = null;;) {
    const page: { data: { id: string }[]; has_more: boolean } = unwrap(
      await api.GET("/fine_tuning/jobs", {
        params: { query: { limit: pageSize, ...(after === null ? {} : { after }) } },
      }),
    );
    found.push(...page.data.map(({ id }) => id).filter((id) => id.startsWith(prefix)));
    const last = page.data.at(-1)?.id;
    // IDs begin with the time of creation and the list is newest first: older jobs have smaller IDs.
    if (!page.has_more || last === undefined || last < prefix || found.length > maxListed) break;
    after = last;
  }
  const [only, ...others] = found;
  if (only === undefined) {
    throw new CliError(`No job's ID begins with ${prefix}. Run \`tunebase jobs list\` to see your jobs.`);
  }
  if (others.length > 0) {
    const listed = found.slice(0, maxListed).join(", ");
    throw new CliError(
      `Several jobs' IDs begin with ${prefix}: ${listed}${found.length > maxListed ? ", …" : ""}. ` +
        "Add more of the ID. Run `tunebase jobs list` to see your jobs.",
      exitCodes.usage,
    );
  }
  return only;
}
