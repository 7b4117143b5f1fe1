/** A job's events: reading and printing them. */
import { type Schemas, unwrap } from "../../client/mod.ts";
import type { Session } from "../api/session.ts";
import { formatClock } from "../terminal/format.ts";
import { stdoutColors } from "../terminal/output.ts";

/** Without `integrations`, which the types of some responses lack. */
export type Job = Omit<Schemas["FineTuningJob"], "integrations">;
export type JobEvent = Schemas["FineTuningJobEvent"];

/** A page of a job's events, newest first. */
export async function listEvents({ api }: Session, id: string, query: { limit: number; after?: string }) {
  const page = unwrap(await api.GET("/fine_tuning/jobs/{id}/events", { params: { path: { id }, query } }));
  if (typeof page === "string") {
    throw new Error("The server responded with an event stream instead of a list.");
  }
  return page;
}

/** "01:54:07  step 10 …", with the level unless it is "info". */
export function formatEvent(event: JobEvent): string {
  const level = event.level === "info"
    ? ""
    : stdoutColors[event.level === "warn" ? "yellow" : "red"](`${event.level}: `);
  return `${stdoutColors.dim(formatClock(event.created_at))}  ${level}${event.message}`;
}
